"""From several people's votes to labels: majorities and means, how far they agree, splits (CH-CEMS, section 3.2)."""
