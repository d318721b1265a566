"""The samplers themselves, one file each: options, rules, words, and how it draws."""
