"""The command line: flags in, one call of the api, a result out. The only room that prints and exits."""
