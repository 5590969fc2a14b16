# Man pages, shell completion, and their installation. The prose of a page is Documentation/*.[15].in;
# OPTIONS come out of the option table that drives the parser. Commands are those of main.c.

# The names of GNU's conventions, for those who are used to them; PREFIX is enough.
prefix = $(PREFIX)
exec_prefix = $(prefix)
bindir = $(exec_prefix)/bin
datarootdir = $(prefix)/share
datadir = $(datarootdir)
mandir = $(datarootdir)/man

# Where each shell looks. Debian's zsh looks for what packages bring elsewhere than for the rest.
bashdir = $(datadir)/bash-completion/completions
zshdir = $(datadir)/zsh/$(if $(and $(filter /usr,$(prefix)),$(wildcard /etc/debian_version)),vendor-completions,site-functions)
fishdir = $(datadir)/fish/vendor_completions.d

COMMANDS := $(shell sed -n 's/^\t&\([a-z]*\)_command,$$/\1/p' main.c)
MAN1 := $(O)/man/lkvm.1 $(COMMANDS:%=$(O)/man/lkvm-%.1)
MAN5 := $(O)/man/lkvm-json.5
MAN := $(MAN1) $(MAN5)

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

$(O)/man/%.5: Documentation/%.5.in
	@mkdir -p $(@D)
	$(call say,MAN,$@)
	$(Q)cp $< $@

# Each is made from the option tables and, in front of or behind that, what is the same for all.
COMPLETIONS := $(O)/completion/lkvm $(O)/completion/_lkvm $(O)/completion/lkvm.fish

$(O)/completion/lkvm: Documentation/lkvm-completion.bash $(O)/lkvm
	@mkdir -p $(@D)
	$(call say,GEN,$@)
	$(Q){ $(O)/lkvm help --completion=bash && cat $<; } >$@

$(O)/completion/_lkvm: Documentation/lkvm-completion.zsh $(O)/lkvm
	@mkdir -p $(@D)
	$(call say,GEN,$@)
	$(Q){ cat $< && $(O)/lkvm help --completion=zsh && echo '_lkvm "$$@"'; } >$@

$(O)/completion/lkvm.fish: Documentation/lkvm-completion.fish $(O)/lkvm
	@mkdir -p $(@D)
	$(call say,GEN,$@)
	$(Q){ cat $< && $(O)/lkvm help --completion=fish; } >$@

.DELETE_ON_ERROR:

.PHONY: man
man: $(MAN) ## make the man pages
	$(if $(silent),,@echo "man pages are in $(O)/man: man $(O)/man/lkvm-run.1")

.PHONY: install
install: $(O)/lkvm $(MAN) $(COMPLETIONS) ## install below DESTDIR and PREFIX
	install -D -m 755 $(O)/lkvm $(DESTDIR)$(bindir)/lkvm
	install -d $(DESTDIR)$(mandir)/man1 $(DESTDIR)$(mandir)/man5
	install -m 644 $(MAN1) $(DESTDIR)$(mandir)/man1
	install -m 644 $(MAN5) $(DESTDIR)$(mandir)/man5
	install -D -m 644 $(O)/completion/lkvm $(DESTDIR)$(bashdir)/lkvm
	install -D -m 644 $(O)/completion/_lkvm $(DESTDIR)$(zshdir)/_lkvm
	install -D -m 644 $(O)/completion/lkvm.fish $(DESTDIR)$(fishdir)/lkvm.fish

.PHONY: uninstall
uninstall: ## remove what install has installed
	rm -f $(DESTDIR)$(bindir)/lkvm $(MAN1:$(O)/man/%=$(DESTDIR)$(mandir)/man1/%) $(MAN5:$(O)/man/%=$(DESTDIR)$(mandir)/man5/%) \
		$(DESTDIR)$(bashdir)/lkvm $(DESTDIR)$(zshdir)/_lkvm $(DESTDIR)$(fishdir)/lkvm.fish
