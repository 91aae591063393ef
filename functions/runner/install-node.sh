#!/bin/sh
# Usage: sh install-node.sh FOLDER. Prints the path of a Node that compresses layers to the bytes that Slipway's embedded home makes: the
# machine's own if its zlib is the same, else the Node that Slipway is released with, from npm, which it puts into FOLDER. A distribution's
# Node is often linked with the distribution's zlib: same contents, other digests.
set -eu
folder=$1
# Of package.json's `node`, as npm publishes it: test/infra/install-node.test.ts holds them together.
version=24.21.0
zlib=1.3.2.1-motley-8002e91
x64=de750bb336795f47dc898a46d2de93add029273027f3e16520d3fa3a2317ed5f07aefa404cf37ddfa5352e545e389ae22d16b87bcc84a900580a72f23cd02ced
arm64=1692513c4cf63afbd32df8c83a5346158f492cf30a825e66f9de2819804b836e242759a6bcdd5997f1cf2601781c3689e752127afd65d5c459fc333e91e5d6e6
# Another registry with npm's packages serves as well: what comes is checked.
registry=${SLIPWAY_NPM_REGISTRY:-https://registry.npmjs.org}

for name in node-24 node; do
  node=$(command -v "$name") || continue
  if "$node" -e 'const { node, zlib } = process.versions; process.exit(node.split(".")[0] >= 24 && zlib === process.argv[1] ? 0 : 1)' "$zlib"; then
    echo "$node"
    exit 0
  fi
done

case $(uname -m) in
  x86_64) arch=x64 sum=$x64 ;;
  aarch64) arch=arm64 sum=$arm64 ;;
  *) echo "install-node.sh: no Node for $(uname -m): runners are x86_64 or aarch64" >&2; exit 1 ;;
esac
url=$registry/node-linux-$arch/-/node-linux-$arch-$version.tgz
mkdir -p "$folder"
if ! curl -fsSL --retry 3 --retry-all-errors -o "$folder/node.tgz" "$url"; then
  echo "install-node.sh: $url cannot be fetched: give this machine a way to it, or set SLIPWAY_NPM_REGISTRY to a mirror" >&2
  exit 1
fi
if ! echo "$sum  $folder/node.tgz" | sha512sum -c - >/dev/null; then
  rm -f "$folder/node.tgz"
  echo "install-node.sh: $url is not what npm published: its SHA-512 is not $sum" >&2
  exit 1
fi
tar -xzf "$folder/node.tgz" -C "$folder" --strip-components=2 package/bin/node
rm -f "$folder/node.tgz"
"$folder/node" -e 0
echo "$folder/node"
