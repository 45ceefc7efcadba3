"""Bad input in bulk, made up from seeds: pictures, records, lists, ROOTs. `make stress` tries thousands; the tests of
their rooms try some."""
