// What a CodeBuild machine does to become a runner: shell commands and nothing that needs a right. test/support/fake-codebuild.ts runs the
// same commands. The program comes by a presigned URL (SLIPWAY_RUNNER_PROGRAM), the job in SLIPWAY_JOB: functions/runners.ts sets both.

/** Credentials of the project's role, which may write its log: the program does without, and what it starts is to know of none. */
const withheld = [
  'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
  'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  'AWS_CONTAINER_AUTHORIZATION_TOKEN',
  'SLIPWAY_RUNNER_PROGRAM',
];

/**
 * Images have most of it, and what they have stays: a second iptables beside the one that the machine's docker made its rules with would not
 * see them.
 */
export const installTools = `packages=
want() { command -v "$1" >/dev/null || packages="$packages $2"; }
want ip iproute
want iptables iptables-legacy
for tool in unshare nsenter setpriv mount; do want "$tool" util-linux; done
for tool in getfattr setfattr; do want "$tool" attr; done
for tool in tar gzip; do want "$tool" "$tool"; done
[ -z "$packages" ] || dnf install -y -q --setopt=install_weak_deps=0 $packages`;

const commands = [
  installTools,
  `program=$(mktemp -d)
curl -fsS --retry 5 --retry-all-errors -o "$program/runner.zip" "$SLIPWAY_RUNNER_PROGRAM"
unzip -q "$program/runner.zip" -d "$program"
rm "$program/runner.zip"`,
  // Not just any Node that the image has.
  `node=$(sh "$program/install-node.sh" "$program/node")`,
  `env ${withheld.map((name) => `-u ${name}`).join(' ')} "$node" "$program/handler.js"`,
];

/** Of one shell each: they stop at what fails, and one line of the log names them. */
export const runnerBuildspec = {
  version: 0.2,
  phases: { build: { commands: [['set -eu', ...commands].join('\n')] } },
} as const;
