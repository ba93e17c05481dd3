import type { Command } from 'commander';
import { Option } from 'commander';
import { EvidenceError, PolicyError } from '../../../attestation/evidence/errors';
import { EvidenceFileError, readEvidenceJson } from '../../../attestation/evidence/json';
import type { Policy } from '../../../attestation/evidence/policy';
import { verifyEvidence } from '../../../attestation/evidence/verify';
import type { PassedStep } from '../../../attestation/evidence/verify';
import type { Evidence } from '../../../proto/gen/licensing/v1/evidence';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { explainBoot } from '../boot-report';
import { hintOfTime } from '../evidence-time';
import { CliError, EXIT } from '../exit';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { describeClaims, row } from '../report';
import { parseTime } from '../time';
import { loadTrust } from '../trust';
import { dateOf, systemClock } from '../../../runtime/clock';
import { readInput } from '../input';

interface Options extends OutputOptions {
  trust?: string;
  trustFingerprint?: string;
  at?: string;
  softwareTpm?: 'allow' | 'refuse';
  explain?: boolean;
}

/** `sls verify FILE`: the whole verification of an evidence file, offline, each step with what it showed. */
export function addVerify(program: Command): void {
  const command = program
    .command('verify')
    .description('verify an evidence file offline, step by step')
    .argument('<file>', 'evidence file, from sls login --evidence, or - for standard input')
    .option('--trust <file>', 'signed trust bundle (default: as in sls login); with --at, one from that time')
    .option('--trust-fingerprint <fingerprint>', 'fingerprint of its trust key, if not yet confirmed by sls trust add')
    .option(
      '--at <time>',
      'verify as of this time, with its zone, or of the beginning of this day in UTC (default: now)',
    )
    .option(
      '--explain',
      'show how the machine booted: which PCR differs from the golden state, and the event that caused it',
    )
    .addOption(
      new Option('--software-tpm <verdict>', "override the trust bundle's policy on software TPMs").choices([
        'allow',
        'refuse',
      ]),
    );
  addOutputOptions(command).action(run);
  addExample(command, 'sls verify proof.json --trust sls-trust.jws', 'sls verify proof.json --explain');
}

async function run(file: string, options: Options): Promise<void> {
  const out = new Output(options);
  const now = options.at === undefined ? dateOf(systemClock) : parseTime('--at', options.at, 'beginning');
  const trust = await loadTrust(options, { asOfThen: options.at !== undefined });
  const evidence = parse(await readInput(file, 'the evidence', { exitCode: EXIT.failure }));
  const steps: PassedStep[] = [];
  const policy: Policy = { ...trust.policy, ...(options.softwareTpm && { softwareTpm: options.softwareTpm }) };
  try {
    const verified = verifyEvidence(evidence, {
      trust,
      expected: { situation: 'archived' },
      policy,
      now,
      onStep: (step) => {
        steps.push(step);
        if (!options.json) out.result(undefined, [`ok  ${step.step}: ${step.title}`, `    ${step.detail}`]);
      },
    });
    const claims = describeClaims(verified.claims);
    const warnings = verified.warnings.map(({ message }) => `warning: ${message}`);
    const facts = Object.entries(claims).map((claim) => `    ${row(claim)}`);
    const boot = options.explain ? explainBoot(policy.bootStates, verified.boot) : undefined;
    out.result(
      { verdict: 'good', at: now.toISOString(), steps, claims, warnings: verified.warnings, boot: boot?.json },
      [...warnings, 'good: the evidence says', ...facts, ...(boot?.lines ?? [])],
    );
  } catch (error) {
    if (!(error instanceof EvidenceError || error instanceof PolicyError)) throw error;
    const boot =
      options.explain && error.code === 'policy.boot_state' ? explainRefused(evidence, trust, policy, now) : undefined;
    if (!options.json) out.result(undefined, [`NO  ${error.step}: ${error.message}`, ...(boot?.lines ?? [])]);
    throw new CliError(
      EXIT.attestation,
      `evidence refused at step ${error.step} (${error.code}): ${error.message}`,
      {
        code: error.code,
        step: error.step,
        hint: hintFor(error, options) ?? hintOfTime(error, evidence, { trust, policy, now }),
        ...(boot && { boot: boot.json }),
      },
      { cause: error },
    );
  }
}

/** All but the boot was good: the policy looks at it last. */
function explainRefused(
  evidence: Evidence,
  trust: TrustBundle,
  policy: Policy,
  now: Date,
): ReturnType<typeof explainBoot> {
  const { boot } = verifyEvidence(evidence, {
    trust,
    expected: { situation: 'archived' },
    policy: { ...policy, bootStates: undefined },
    now,
  });
  return explainBoot(policy.bootStates, boot);
}

function hintFor(error: EvidenceError | PolicyError, { explain }: Options): string | undefined {
  return error.code === 'policy.boot_state' && !explain ? 'sls verify --explain shows the boot, PCR by PCR' : undefined;
}

function parse(content: string): Evidence {
  try {
    return readEvidenceJson(content);
  } catch (error) {
    if (!(error instanceof EvidenceFileError)) throw error;
    throw new CliError(
      EXIT.attestation,
      `evidence refused at step file (${error.code}): ${error.message}`,
      { code: error.code, step: 'file' },
      { cause: error },
    );
  }
}
