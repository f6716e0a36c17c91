# completes emsa in bash; for this shell: eval "$(emsa completion bash)"
_emsa_fields() {
    case $1 in
{%- for one in completed %}
    {{ one.commands | join("|") }}) fields="{{ one.fields }}" presets="{{ one.presets }}" options="help print_config{{ " preset" if one.presets }}{{ " workdir" if one.workdir }}" ;;
{%- endfor %}
    *) fields="" presets="" options="help" ;;
    esac
}

_emsa_choices() {
    case $1 in
{%- for field, there in choices.items() %}
    {{ field }}) values="{{ there }}" ;;
{%- endfor %}
    *) values="" ;;
    esac
}

_emsa() {
    local line=${COMP_LINE:0:COMP_POINT} fields presets options values field
    local word=${line##*[[:space:]]} command=${COMP_WORDS[1]} before
    before=${line%"$word"}
    before=${before%"${before##*[![:space:]]}"}
    before=${before##*[[:space:]]}
    COMPREPLY=()
    if [[ $before == emsa || $before == */emsa || $before == help ]]; then
        COMPREPLY=($(compgen -W "{{ summaries | join(" ") }} --help --version" -- "$word"))
        return
    fi
    case $command in
    describe) COMPREPLY=($(compgen -W "{{ described }}" -- "$word")); return ;;
    completion) COMPREPLY=($(compgen -W "{{ shells }}" -- "$word")); return ;;
    esac
    _emsa_fields "$command"
    if [[ $word == *=* ]]; then
        field=${word%%=*} word=${word#*=}
    elif [[ $before == --* && $before != *=* && $word != --* ]]; then
        field=$before
    fi
    if [[ -n $field ]]; then
        field=${field#--}
        case $field in
        preset) values=$presets ;;
        *) _emsa_choices "${field//-/_}" ;;
        esac
        compopt -o filenames 2> /dev/null
        if [[ -n $values ]]; then
            compopt +o filenames 2> /dev/null
            COMPREPLY=($(compgen -W "$values" -- "$word"))
        else
            COMPREPLY=($(compgen -f -- "$word"))
        fi
    elif [[ $word == -* ]]; then
        COMPREPLY=($(compgen -P -- -W "$options $fields" -- "${word#--}"))
    else
        compopt -o nospace 2> /dev/null
        COMPREPLY=($(compgen -S = -W "$fields" -- "$word") $(compgen -f -- "$word"))
    fi
}
complete -F _emsa emsa
