#!/bin/sh
# What the tests need beyond node: a local AWS in .venv, and (as root on Debian) the clients that the end-to-end tests talk to.
# Safe to run again; quick when all is there.
set -eu
cd "$(dirname "$0")/.."

ministack=1.5.33
packages='attr skopeo buildah podman docker.io runc uidmap mmdebstrap docker-registry busybox-static zstd xz-utils bzip2'

note() { printf 'setup: %s\n' "$*" >&2; }

as_root=no
if [ "$(id -u)" = 0 ] && command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then as_root=yes; fi

# Two runs in one checkout would take each other's .venv away.
if command -v flock >/dev/null; then
  exec 9<test/setup.sh
  flock 9
fi

# A mirror may fail once, and another run of this machine may be installing.
apt_install() {
  note "installing $*"
  patient='-o Acquire::Retries=3 -o DPkg::Lock::Timeout=300'
  # shellcheck disable=SC2086 # several words
  apt-get update -qq $patient
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $patient "$@" >/dev/null
}

if [ "$as_root" = yes ]; then
  missing=
  for package in $packages; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
  done
  # shellcheck disable=SC2086 # one word per package
  [ -z "$missing" ] || apt_install $missing
else
  for tool in skopeo buildah podman docker runc newuidmap mmdebstrap docker-registry busybox zstd xz bzip2 setfattr; do
    command -v "$tool" >/dev/null || note "$tool is not here: tests that need it are skipped (Debian packages: $packages)"
  done
fi

# npm writes this file last; without it, or with an older one, the modules are not what the lock says. A link leads to somebody else's
# modules, which npm ci would remove.
if [ -L node_modules ]; then
  note 'node_modules is a link: left as it is'
elif [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  note 'npm ci'
  npm ci --no-audit --no-fund
fi

# One that is there may not start: of a checkout that was moved, or with a python that is no more.
if [ "$(cat .venv/ministack-version 2>/dev/null || true)" != "$ministack" ] || ! .venv/bin/ministack --help >/dev/null 2>&1; then
  if ! command -v python3 >/dev/null || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$as_root" = yes ]; then
      apt_install python3 python3-venv
    else
      note 'python3 with venv is not here: tests against a local AWS are skipped'
      exit 0
    fi
  fi
  note "ministack $ministack into .venv"
  rm -rf .venv
  python3 -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "ministack==$ministack"
  # Last, so that an interrupted installation is done again.
  printf '%s\n' "$ministack" >.venv/ministack-version
fi
