#compdef emsa
# completes emsa in zsh; for this shell: eval "$(emsa completion zsh)", or save it as _emsa in a directory of $fpath
_emsa() {
    local -a commands fields presets options values
    local field
    if (( CURRENT == 2 )) || [[ $words[2] == help ]]; then
        commands=(
{%- for name, text in summaries.items() %}
            {{ "'" }}{{ name }}:{{ text | replace("'", "'\\''") }}{{ "'" }}
{%- endfor %}
        )
        _describe command commands
        return
    fi
    options=(help print_config)
    case $words[2] in
    describe) compadd -- {{ described }}; return ;;
    completion) compadd -- {{ shells }}; return ;;
{%- for one in completed %}
    {{ one.commands | join("|") }})
        fields=({{ one.fields }})
        presets=({{ one.presets }})
        options+=({{ "preset " if one.presets }}{{ "workdir" if one.workdir }})
        ;;
{%- endfor %}
    esac
    if [[ $PREFIX == *=* ]]; then
        field=${${PREFIX%%=*}#--}
        compset -P '*='
    elif [[ $words[CURRENT-1] == --* && $words[CURRENT-1] != *=* && $PREFIX != --* ]]; then
        field=${words[CURRENT-1]#--}
    fi
    if [[ -z $field ]]; then
        if [[ $PREFIX == -* ]]; then
            compadd -- --${^options} --${^fields}
        else
            compadd -S '=' -- $fields
            _files
        fi
        return
    fi
    case ${field//-/_} in
    preset) values=($presets) ;;
{%- for field, there in choices.items() %}
    {{ field }}) values=({{ there }}) ;;
{%- endfor %}
    esac
    if (( $#values )); then
        compadd -- $values
    else
        _files
    fi
}
if [[ $funcstack[1] == _emsa ]]; then
    _emsa "$@"
else
    compdef _emsa emsa
fi
