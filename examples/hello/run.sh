#!/bin/sh
# From nothing to a running container, without any public registry: a base image from this machine's busybox, a build with several
# stages, a registry, a pull over HTTP into a second home, and a run. Everything is made in a temporary folder and removed at the end.
set -eu
umask 022

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)

if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
say() { printf '%s\n' "$*"; }
fail() {
  printf 'example: %s\n' "$*" >&2
  exit 1
}

# Shows a command, shortened for reading, and runs it.
run() {
  shown=
  for word in "$@"; do
    case $word in "$top"/cli/slipway) word=slipway ;; "$top"/*) word=${word#"$top"/} ;; *' '*) word="'$word'" ;; esac
    shown="$shown $word"
  done
  printf '$%s\n' "$shown"
  "$@"
}

# --- what has to be there -------------------------------------------------------------------------------------------------------

slipway=$top/cli/slipway
if [ ! -d "$top/node_modules" ]; then
  step 'Installing what Slipway is made of'
  (cd "$top" && run npm ci --no-audit --no-fund)
fi
if [ ! -e "$top/dist/main.js" ]; then
  step 'Building Slipway'
  (cd "$top" && run npm run --silent build)
fi

# A busybox that needs no libraries: it is a whole userland in one file.
find_busybox() {
  for candidate in /bin/busybox /usr/bin/busybox /usr/local/bin/busybox; do
    [ -x "$candidate" ] || continue
    case $(ldd "$candidate" 2>&1 || true) in *'not a dynamic'* | *'statically linked'* | *'Not a valid dynamic'*) ;; *) continue ;; esac
    printf '%s' "$candidate"
    return
  done
}
busybox=$(find_busybox)
if [ -z "$busybox" ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    step 'Installing busybox-static'
    run apt-get update -qq
    DEBIAN_FRONTEND=noninteractive run apt-get install -y -qq --no-install-recommends busybox-static
    busybox=$(find_busybox)
  fi
  [ -n "$busybox" ] || fail 'this needs a statically linked busybox: install busybox-static (Debian, Ubuntu), or put one at /usr/local/bin/busybox'
fi

# --- a place to work in, gone afterwards ----------------------------------------------------------------------------------------

work=$(mktemp -d "${TMPDIR:-/tmp}/slipway-hello.XXXXXX")
server=
clean_up() {
  status=$?
  trap - EXIT
  if [ -n "$server" ]; then
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  rm -rf "$work" || say "left behind: $work" >&2
  exit "$status"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

SLIPWAY_HOME=$work/first
export SLIPWAY_HOME

# --- the example ----------------------------------------------------------------------------------------------------------------

step '1. A base image, from the busybox of this machine'
root=$work/root
mkdir -p "$root/bin" "$root/etc" "$root/usr/bin" "$root/tmp"
chmod 1777 "$root/tmp"
cp "$busybox" "$root/bin/busybox"
for applet in sh awk cat echo grep id ls mkdir printf sort tr wc; do ln -s busybox "$root/bin/$applet"; done
printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' > "$root/etc/passwd"
printf 'root:x:0:\nnobody:x:65534:\n' > "$root/etc/group"
tar --numeric-owner --owner=0 --group=0 -C "$root" -cf "$work/base.tar" .
run "$slipway" import --change 'ENV PATH=/usr/bin:/bin' "$work/base.tar" hello-base

step '2. Build: two stages side by side, a third with their results'
run "$slipway" build -t hello "$here" 2>&1

step '3. Build again: nothing has changed, so nothing is done'
run "$slipway" build -t hello "$here" 2>&1

step '4. Serve the images of this home as a registry'
printf '$ slipway serve --port 0 --json &\n'
"$slipway" serve --port 0 --json > "$work/serve.json" &
server=$!
tries=0
until [ -s "$work/serve.json" ]; do
  tries=$((tries + 1))
  kill -0 "$server" 2>/dev/null || fail 'the registry did not start'
  [ "$tries" -lt 100 ] || fail 'the registry does not answer'
  sleep 0.1 2>/dev/null || sleep 1
done
cat "$work/serve.json"
port=$(sed -n 's/.*"port":\([0-9]*\).*/\1/p' "$work/serve.json")
[ -n "$port" ] || fail "no port in: $(cat "$work/serve.json")"

step '5. Pull it over HTTP into a second home, which is empty'
SLIPWAY_HOME=$work/second
say "SLIPWAY_HOME=$SLIPWAY_HOME"
run "$slipway" pull "localhost:$port/hello"

step '6. Run it'
run "$slipway" run --rm "localhost:$port/hello" > "$work/output"
cat "$work/output"
grep -q '== SLIPWAY ==' "$work/output" || fail 'the banner is missing'
grep -q 'Hawaiian *Aloha' "$work/output" || fail 'the greetings are missing'
grep -q 'says nobody' "$work/output" || fail 'it did not run as nobody'

step 'Done.'
