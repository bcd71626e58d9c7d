# shellcheck shell=bash
# Sourced by the shell scripts of tools/: where things are, and how the scripts speak.
set -euo pipefail

# shellcheck disable=SC2034  # for those who source this
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
# shellcheck disable=SC2034
cache_dir=${XDG_CACHE_HOME:-${HOME:?}/.cache}/hull

PATH=$PATH:/usr/sbin:/sbin  # modprobe, depmod, mke2fs and ip, also for those who are not root

say() { printf '%s\n' "$*" >&2; }

die() {
  say "${0##*/}: $*"
  exit 1
}

# has_hardware_kvm: can stock guest kernels run on this host's own /dev/kvm?
has_hardware_kvm() {
  grep -qwE 'vmx|svm' /proc/cpuinfo && [[ -r /dev/kvm && -w /dev/kvm ]]
}

# build_once DIRECTORY FUNCTION: unless DIRECTORY exists, runs FUNCTION in a new directory beside it,
# which gets the name DIRECTORY when FUNCTION has succeeded. Two at a time do no harm: one wins.
# A failure ends the script, so never call this in a condition: bash would ignore errors in FUNCTION.
build_once() {
  local target=$1 build=$2
  [[ ! -d $target ]] || return 0
  mkdir -p "${target%/*}"
  scratch=$(mktemp -d "$target.XXXXXX")
  unfinished=$target
  trap 'rm -rf "$scratch"; say "${0##*/}: could not build $unfinished"' EXIT
  (cd "$scratch"; "$build")
  trap - EXIT
  chmod 755 "$scratch"
  mv -T "$scratch" "$target" 2>/dev/null || rm -rf "$scratch"
}
