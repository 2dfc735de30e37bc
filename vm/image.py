#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Make the test machine's disk: a Debian 13 root in an ext4 file.

Remade only when what is named below or in vm/rootfs/ changed; what the image
was made of is kept as a hash beside it. Needs root (or sudo), as
owners and device nodes must come out right.
"""
from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TextIO

from common import TOP, HintError, captured, locked, step

HERE = TOP / "vm"
ROOTFS = HERE / "rootfs"
SUITE = "trixie"
SIZE = "6G"                     # sparse
PACKAGES = """
    systemd systemd-sysv dbus udev libpam-systemd util-linux procps psmisc
    login passwd sudo kmod iproute2 less tmux strace file
    python3 jq libcap2-bin numactl attr acl bc
    cgroup-tools libcgroup3 stress-ng ksmtuned
    redis-server redis-tools podman crun prometheus-node-exporter
    busybox-static netcat-openbsd qemu-system-x86
""".split()

# Nothing that runs by itself, so that a measurement sees only its own load.
QUIET = """
    redis-server.service prometheus-node-exporter.service apt-daily.timer
    apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer
    e2scrub_reap.service fstrim.timer logrotate.timer man-db.timer
    podman.socket podman.service podman-auto-update.timer
    podman-auto-update.service podman-restart.service
    systemd-timesyncd.service systemd-pstore.service
    prometheus-node-exporter-apt.timer prometheus-node-exporter-nvme.timer
    prometheus-node-exporter-mdadm.timer
    prometheus-node-exporter-ipmitool-sensor.timer
    prometheus-node-exporter-smartmon.timer sysstat.service cgconfig.service
    cgred.service cron.service ksm.service ksmtuned.service
""".split()

# Of no use without modules, hardware or a second boot; they cost boot time.
MASKED = """
    apt-daily.timer apt-daily-upgrade.timer getty@tty1.service
    modprobe@configfs.service modprobe@drm.service modprobe@fuse.service
    modprobe@efi_pstore.service modprobe@dm_mod.service modprobe@loop.service
    systemd-modules-load.service systemd-update-utmp.service
    systemd-random-seed.service systemd-hwdb-update.service
    systemd-journal-flush.service systemd-firstboot.service
    systemd-journal-catalog-update.service systemd-boot-update.service
    systemd-machine-id-commit.service ldconfig.service
    systemd-update-done.service systemd-networkd-wait-online.service
    serial-getty@ttyS0.service sys-kernel-config.mount sys-fs-fuse-connections.mount
    systemd-tpm2-setup.service systemd-tpm2-setup-early.service
""".split()

# What the offline container image "localhost/redis" is made of.
CONTAINER = "bin/busybox usr/bin/redis-server usr/bin/redis-cli usr/bin/stress-ng"


class ImageError(HintError):
    """The disk is not made."""


def recipe() -> str:
    """A digest of all that the disk is made of."""
    digest = hashlib.sha256(repr((SUITE, SIZE, PACKAGES, QUIET, MASKED, CONTAINER,
                                  CUSTOMIZE)).encode())
    for path in sorted(path for path in ROOTFS.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(HERE)}".encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def as_root() -> list[str]:
    return [] if os.geteuid() == 0 else ["sudo"]


def mirror() -> str | None:
    """The mirror that this machine's apt uses for Debian, or None."""
    form = "$(REPO_URI)|$(LABEL)|$(COMPONENT)"
    try:
        done = captured(["apt-get", "indextargets", "--format", form, "Created-By: Packages"])
    except OSError:
        return None
    for line in done.stdout.splitlines() if done.returncode == 0 else ():
        uri, label, component = line.rsplit("|", 2)
        if component == "main" and label in ("Debian", "") and "security" not in uri:
            return uri
    return None


# Its own text has $, {} and all that, which leaves % for what is put in.
CUSTOMIZE = r"""
set -e
root="$1"
cp -rT --no-preserve=ownership "%(rootfs)s" "$root"
echo 0123456789abcdef0123456789abcdef > "$root/etc/machine-id"
echo ksmvm > "$root/etc/hostname"
printf '127.0.0.1 localhost ksmvm\n' > "$root/etc/hosts"
printf '/dev/vda / ext4 defaults,noatime 0 0\n' > "$root/etc/fstab"
chroot "$root" passwd -d root >/dev/null
chroot "$root" useradd -m -s /bin/bash user
chroot "$root" systemctl -q enable vm-agent.service
for unit in %(quiet)s; do
    chroot "$root" systemctl -q disable "$unit" 2>/dev/null || :
done
for unit in %(masked)s; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
# The container's root: the programs and the libraries that they name.
c="$root/usr/local/share/redis-container"
mkdir -p "$c/bin" "$c/usr/bin" "$c/data" "$c/tmp" "$c/etc" "$c/proc" "$c/sys" "$c/dev"
echo root:x:0:0:root:/:/bin/sh > "$c/etc/passwd"
for program in %(container)s; do
    cp "$root/$program" "$c/$program"
    chroot "$root" ldd "/$program" 2>/dev/null | grep -o '/[^ ]*' | while read -r lib; do
        mkdir -p "$c/$(dirname "$lib")"
        cp -L "$root/$lib" "$c/$lib"
    done
done
for name in sh ls cat sleep cp mv rm dd head tail env id ps kill mkdir tr seq yes; do
    ln -sf busybox "$c/bin/$name"
done
tar -C "$c" --numeric-owner --owner=0 --group=0 -cf "$root/usr/local/share/redis-container.tar" .
rm -rf "$c"
# Taken in here, so that nobody waits for it in the VM (or pulls anything).
# podman remounts its /, which must be a mount point for that.
unshare -m sh -e -c 'mount --rbind "$1" "$1"; cd "$1"; chroot "$1" podman --cgroup-manager=cgroupfs \
    import -q /usr/local/share/redis-container.tar localhost/redis' sh "$root"
rm -rf "$root/var/lib/apt/lists" "$root/var/cache/apt" "$root/usr/share/doc" \
       "$root/usr/share/man" "$root/usr/share/locale"
"""


def build(output: Path, log: TextIO) -> None:
    work = Path(tempfile.mkdtemp(prefix="image.", dir=output.parent))
    work.chmod(0o755)
    root, hook, partial = work / "root", work / "customize.sh", Path(f"{output}.tmp")
    hook.write_text(CUSTOMIZE % {"rootfs": ROOTFS, "quiet": " ".join(QUIET),
                                 "masked": " ".join(MASKED), "container": CONTAINER})
    bootstrap = ["mmdebstrap", "--variant=minbase", "--skip=check/empty",
                 '--aptopt=Acquire::Languages "none"',
                 '--aptopt=Apt::Install-Recommends "false"',
                 "--dpkgopt=path-exclude=/usr/share/man/*", f"--include={','.join(PACKAGES)}",
                 f'--customize-hook=sh {hook} "$1"', SUITE, str(root), *filter(None, [mirror()])]
    disk = ["mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-m", "0",
            "-E", "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0",
            "-d", str(root), str(partial), SIZE]
    owner = ["chown", f"{os.getuid()}:{os.getgid()}", str(partial)]
    try:
        for command in (bootstrap, disk, *([owner] if as_root() else ())):
            if subprocess.run(as_root() + command, stdin=subprocess.DEVNULL, stdout=log,
                              stderr=log, check=False).returncode:
                raise ImageError(f"{command[0]} failed, see {log.name}",
                                 "is the Debian mirror of this machine reachable?")
        partial.rename(output)
    finally:
        subprocess.run([*as_root(), "rm", "-rf", work, partial], check=False)


def make(output: Path, log: Path) -> None:
    stamp, wanted = Path(f"{output}.recipe"), recipe()
    if output.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    if as_root() and not shutil.which("sudo"):
        raise ImageError("making the disk image needs root", "run make as root, or install sudo")
    # What an interrupted run has left.
    for path in output.parent.glob("image.*"):
        if path.is_dir():
            subprocess.run([*as_root(), "rm", "-rf", path], check=True)
    with step("making the VM's disk, Debian 13"), log.open("w") as stream:
        build(output, stream)
    stamp.write_text(wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, metavar="OUTPUT.ext4")
    parser.add_argument("log", type=Path, metavar="LOGFILE")
    arguments = parser.parse_args()
    output = arguments.output.absolute()
    try:
        with locked(Path(f"{output}.lock")):
            make(output, arguments.log)
    except ImageError as error:
        sys.exit(f"image: {error}")


if __name__ == "__main__":
    main()
