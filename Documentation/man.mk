# Man pages, shell completion, and their installation. The prose of a page is Documentation/*.1.in;
# its OPTIONS come out of the option table that drives the parser. Commands are those of main.c.

BINDIR := $(DESTDIR)$(PREFIX)/bin
MANDIR := $(DESTDIR)$(PREFIX)/share/man/man1
COMPLETIONDIR := $(DESTDIR)$(PREFIX)/share/bash-completion/completions

COMMANDS := $(shell sed -n 's/^\t&\([a-z]*\)_command,$$/\1/p' main.c)
MAN := $(O)/man/lkvm.1 $(COMMANDS:%=$(O)/man/lkvm-%.1)

# $(call fill,PLACEHOLDER,ARGUMENTS OF lkvm help): put its output where the placeholder stands
fill = $(O)/lkvm help $(2) >$@.part && sed -e '/^@$(1)@$$/{' -e 'r $@.part' -e d -e '}' $< >$@ && rm $@.part

$(O)/man/lkvm.1: Documentation/lkvm.1.in $(O)/lkvm
	@mkdir -p $(@D)
	$(call say,MAN,$@)
	$(Q)$(call fill,COMMANDS,--man)

$(O)/man/lkvm-%.1: Documentation/lkvm-%.1.in $(O)/lkvm
	@mkdir -p $(@D)
	$(call say,MAN,$@)
	$(Q)$(call fill,OPTIONS,--man $*)

$(O)/completion/lkvm: Documentation/lkvm-completion.bash $(O)/lkvm
	@mkdir -p $(@D)
	$(call say,GEN,$@)
	$(Q){ $(O)/lkvm help --completion && cat $<; } >$@

.DELETE_ON_ERROR:

.PHONY: man
man: $(MAN) ## make the man pages
	@echo "man pages are in $(O)/man: man $(O)/man/lkvm-run.1"

.PHONY: install
install: $(O)/lkvm $(MAN) $(O)/completion/lkvm ## install below DESTDIR and PREFIX
	install -D -m 755 $(O)/lkvm $(BINDIR)/lkvm
	install -d $(MANDIR)
	install -m 644 $(MAN) $(MANDIR)
	install -D -m 644 $(O)/completion/lkvm $(COMPLETIONDIR)/lkvm

.PHONY: uninstall
uninstall: ## remove what install has installed
	rm -f $(BINDIR)/lkvm $(MAN:$(O)/man/%=$(MANDIR)/%) $(COMPLETIONDIR)/lkvm
