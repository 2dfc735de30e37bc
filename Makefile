# SPDX-License-Identifier: GPL-2.0
#
# ksm-cgroup: build the patched kernel, boot it, test it. "make help" lists
# what there is. Everything made is below build/.

MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
.SHELLFLAGS := -ec
.DEFAULT_GOAL := help

# Raw, so that a $ in the command is the VM's and not make's.
ifneq ($(origin CMD),undefined)
  override CMD := $(value CMD)
endif
export CMD SHARE OUT MEM CPUS NODES KERNEL TIMEOUT APPEND KSRC ONLY QUICK

PY := python3
# Debian's packages: to build kernels, to apply the seam, to run the VM, and to
# build and test the command.
PACKAGES := linux-source-6.12 build-essential bc bison flex kmod cpio rsync \
	libelf-dev libssl-dev libcap-dev libnuma-dev python3 perl git \
	coccinelle qemu-system-x86 mmdebstrap e2fsprogs debian-archive-keyring \
	ccache sparse shellcheck libcgroup-dev libsmartcols-dev libncurses-dev \
	pkgconf tmux groff-base strace

.PHONY: help deps source tree kernel debug-kernel stock-kernel um-kernel um-stock-kernel \
	stock-debug-kernel image selftests judges tool-build tool vm-exec \
	shell demo check dashboard bench style configs patches clean cleanall

help:
	@sed -n 's/^#: //p' Makefile

#: Targets
#:   demo           the main job: four redis containers, merged and unmerged
#:   check          all tests, in the VM  [KERNEL=ksm|debug, default both] [ONLY='pattern ...']
#:   judges         tests of what judges the tests, without the VM
#:   tool           the command ksm-cgroup, in build/tool, and its tests
#:   dashboard      the Grafana dashboard drawn with data of the VM, by a Prometheus
#:   bench          measure beside the stock kernel
#:                  [QUICK=1: what scanning costs, in minutes]
#:   tree           patched kernel tree in build/linux           [KSRC=dir]
#:   kernel         the patched kernel; also debug-kernel (lockdep, KASAN)
#:   stock-kernel   the unpatched tree, same configuration
#:   image          disk of the VM, Debian 13
#:   vm-exec        boot and run one command:
#:                  CMD='...' [SHARE=dir] [OUT=dir] [MEM=2G] [CPUS=2] [NODES=1]
#:                  [KERNEL=ksm|debug|stock] [TIMEOUT=600] [APPEND='...']
#:                  SHARE is read-only at /mnt/share, OUT read-write at /mnt/out
#:   shell          a login in the VM, same settings
#:   style          checkpatch, sparse, W=1, shellcheck, python
#:   configs        compile the engine for other architectures and configurations,
#:                  with the cross compilers that are installed  [ONLY='name ...']
#:   patches        the series for git am, in build/patches
#:   deps           install the Debian packages that are needed
#:   clean          remove what was built (cleanall: the compiler cache, too)

build/log:
	@mkdir -p build/log

deps:
	@vm/deps.sh $(PACKAGES)

source: deps
	@$(PY) vm/tree.py source $(KSRC) >&2

tree: source
	@$(PY) vm/tree.py sync >&2

# A kernel is rebuilt when its tree or the configuration changed; the check is
# a comparison of times, so that vm-exec starts at once.
CONFIGS := $(wildcard vm/config/*.config) vm/kernel.py
build = @for f in $(CONFIGS) $(3); do [ ! $$f -nt build/obj/$(2)/built ] || old=1; done; \
	[ -e build/obj/$(2)/vmlinux ] && [ -z "$$old" ] || $(PY) vm/kernel.py $(1)

kernel: tree
	$(call build,ksm,ksm,build/linux.stamp)

debug-kernel: tree
	$(call build,debug,ksm-debug,build/linux.stamp)

stock-kernel: source
	$(call build,stock,stock,build/src.origin)

stock-debug-kernel: source
	$(call build,stock-debug,stock-debug,build/src.origin)

# In user mode, to measure at the processor's speed.
um-kernel: tree
	$(call build,um,um,build/linux.stamp)

um-stock-kernel: source
	$(call build,um-stock,um-stock,build/src.origin)

image: deps | build/log
	@$(PY) vm/image.py build/image.ext4 build/log/image.log >&2

# The command runs here and in the VM, which has Debian 13's libcgroup: where
# this machine's is older, it is linked in.
TOOL := $(MAKE) -C tools/ksm-cgroup O=$(CURDIR)/build/tool \
	STATIC_LIBCGROUP=$$(pkg-config --atleast-version=3 libcgroup && echo 0 || echo 1)
tool-build: deps | build/log
	@$(TOOL) all >build/log/tool.log 2>&1 </dev/null || { \
		grep -E 'error|needs' build/log/tool.log >&2; \
		echo "tool: ksm-cgroup does not build, see build/log/tool.log" >&2; exit 1; }

# Without the VM, on recorded trees and on processes of its own.
tool: tool-build
	@$(TOOL) check

# Tests are built here and run in the VM.
selftests: tree tool-build
	+@vm/selftests.sh

# What judges the tests, on recorded logs.
judges:
	@$(PY) vm/selftest/run.py

ifneq ($(filter-out ksm debug stock stock-debug,$(KERNEL)),)
  $(error KERNEL=$(KERNEL): it is one of ksm, debug, stock)
endif

# $(call target-of,kernel): the goal that builds it.
target-of = $(patsubst ksm-kernel,kernel,$(1)-kernel)
KERNEL_TARGET := $(call target-of,$(or $(KERNEL),ksm))

check: $(if $(KERNEL),$(KERNEL_TARGET),kernel debug-kernel) image selftests
	@$(PY) vm/check.py

vm-exec: $(KERNEL_TARGET) image
	@$(PY) vm/run.py exec

shell: $(KERNEL_TARGET) image
	@$(PY) vm/run.py shell

# The demonstration itself runs inside; its output comes as it is written.
demo: export KERNEL := ksm
demo: export MEM := $(or $(MEM),3G)
demo: export SHARE := $(CURDIR)
demo: export TIMEOUT := $(or $(TIMEOUT),1800)
demo: export CMD := if [ -e /mnt/share/vm/demo/demo.py ]; then exec python3 -u \
	/mnt/share/vm/demo/demo.py; else exec bash /mnt/share/vm/demo/demo.sh; fi
demo: kernel image
	@$(PY) vm/run.py exec

dashboard: export KERNEL := ksm
dashboard: export MEM := 3G
dashboard: export SHARE := $(CURDIR)
dashboard: export OUT := $(CURDIR)/build/dashboard
dashboard: export TIMEOUT := 1800
dashboard: export CMD := python3 -u /mnt/share/vm/demo/record.py \
	/mnt/share/build/share/userland/ksm-cgroup /mnt/out/record
dashboard: kernel image selftests
	@mkdir -p build/dashboard
	@$(PY) vm/run.py exec
	@$(PY) vm/demo/dashboard.py build/dashboard/record build/dashboard/ksm-cgroup-dashboard.svg
	@echo "build/dashboard/ksm-cgroup-dashboard.svg"

bench: um-kernel um-stock-kernel $(if $(QUICK),,kernel stock-kernel image)
	@$(PY) bench/bench.py

patches: tree
	@$(PY) vm/patches.py >&2

style: kernel patches
	@$(PY) vm/style.py

configs: tree
	@$(PY) vm/configs.py $(ONLY)

clean:
	rm -rf build/src build/src.* build/linux* build/obj build/integration* \
		build/image* build/patches build/log build/accel build/tool

cleanall:
	rm -rf build
