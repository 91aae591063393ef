#!/bin/sh
# `npm test`: what the tests need, then all of them. The last line counts tests, whatever happens before.
cd "$(dirname "$0")/.." || exit 1
if sh test/setup.sh; then exec node test/run.ts "$@"; fi
echo 'what the tests need could not be had: see above'
printf '\n0 passed, 1 failed, 0 skipped\n'
exit 1
