import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { BOOT_PCRS } from '../../attestation/boot/measured';
import type { MeasuredBoot } from '../../attestation/boot/measured';
import { BootStateError, isZero, recordBootState, statePcrs } from '../../attestation/boot/state';
import type { BootState } from '../../attestation/boot/state';
import { EvidenceError } from '../../attestation/evidence/errors';
import { EvidenceFileError, readEvidenceJson } from '../../attestation/evidence/json';
import { verifyEvidence } from '../../attestation/evidence/verify';
import { FolderKeyStore } from '../../installation/folder';
import { KeyStoreError } from '../../installation/store';
import type { KeyStore } from '../../installation/store';
import { publishTrustBundle, readPublishedTrust } from '../../installation/trust';
import type { TrustBundle } from '../../attestation/trust/bundle';
import type { Evidence } from '../../proto/gen/licensing/v1/evidence';
import { hintOfTime } from './evidence-time';
import { CliError, EXIT } from './exit';
import { addExample, addOutputOptions } from './options';
import { readInput } from './input';
import { Output } from './output';
import { parseTime } from './time';
import type { OutputOptions } from './output';
import { loadTrust } from './trust';
import { dateOf, systemClock } from '../../runtime/clock';

interface Options extends OutputOptions {
  evidence: string;
  name: string;
  pcrs?: number[];
  trust?: string;
  trustFingerprint?: string;
  at?: string;
  dir?: string;
}

/**
 * `sls admin boot`: `record` makes a golden boot state of an evidence file and, with --dir, demands it from now on beside those that are demanded
 * already; `list` and `remove` are for when an update is through.
 */
export function addBoot(admin: Command): void {
  const boot = admin.command('boot').description('manage golden boot states: how machines must have booted');
  const record = boot
    .command('record')
    .description('record a golden boot state from the evidence of a machine that you approve')
    .requiredOption('--evidence <file>', 'evidence file, from sls login --evidence FILE --event-log')
    .requiredOption('--name <name>', 'name of the state; replaces an existing one of that name')
    .option(
      '--pcrs <list>',
      'require these PCRs only, such as 0,2,4,7,8,9: some change with settings (1) or drives (5)',
      parsePcrs,
    )
    .option('--dir <folder>', 'installation folder: add the state to its trust bundle and sign the bundle again')
    .option('--trust <file>', 'signed trust bundle to verify with (default: that of --dir, or as in sls login)')
    .option('--trust-fingerprint <fingerprint>', 'fingerprint of its trust key, if not yet confirmed by sls trust add')
    .option('--at <time>', 'verify as of this time (ISO 8601; default: now)');
  addOutputOptions(record, { json: false }).action(run);
  addExample(record, 'sls admin boot record --evidence proof.json --name 2026-11 --dir ~/.local/state/sls/server');
  const list = boot
    .command('list')
    .description('list the golden boot states of an installation')
    .requiredOption('--dir <folder>', 'installation folder');
  addOutputOptions(list, { json: true }).action(listStates);
  addExample(list, 'sls admin boot list --dir ~/.local/state/sls/server');
  const remove = boot
    .command('remove')
    .description('stop accepting a golden boot state: machines that boot that way are refused')
    .argument('<name>')
    .requiredOption('--dir <folder>', 'installation folder; its trust bundle is signed again')
    .option('--any-boot', 'remove it even if it is the last one: from then on any boot is accepted');
  addOutputOptions(remove, { json: false }).action(removeState);
  addExample(remove, 'sls admin boot remove 2026-10 --dir ~/.local/state/sls/server');
}

async function run(options: Options): Promise<void> {
  const out = new Output(options);
  const store = options.dir === undefined ? undefined : new FolderKeyStore(options.dir);
  const trust =
    store !== undefined && options.trust === undefined
      ? await publishedTrust(store)
      : await loadTrust(options, { asOfThen: options.at !== undefined });
  const { state, boot } = await makeState(options, trust);
  for (const note of notesOf(state, boot)) out.note(note);
  if (store === undefined) {
    out.result(undefined, [JSON.stringify(state, null, 2)]);
    out.note(
      'not required yet: add it to policy.bootStates in a copy of trust-bundle.json for sls admin trust-bundle export --edited, or run this again with --dir',
    );
    return;
  }
  const current = await publishedTrust(store);
  const others = (current.policy.bootStates ?? []).filter(({ name }) => name !== state.name);
  const { sequence } = await publishTrustBundle(store, {
    policy: { ...current.policy, bootStates: [...others, state] },
  });
  const pcrs = Object.keys(state.pcrs).join(', ');
  out.done(
    `boot state ${state.name}: PCRs ${pcrs}, ${state.events?.length ?? 'no'} events; required from trust bundle ${sequence} on`,
  );
}

/** What the state leaves open: whoever approves it should know. */
function notesOf(state: BootState, boot: MeasuredBoot): string[] {
  const demanded = statePcrs(state).map(({ pcr }) => pcr);
  const open = [...boot.pcrs].flatMap(([pcr, value]) => (demanded.includes(pcr) || isZero(value) ? [] : [pcr]));
  const later = boot.extendedLater.filter((pcr) => demanded.includes(pcr));
  return [
    ...(boot.pcrs.size < BOOT_PCRS.length
      ? [
          'the evidence comes from an attestor of release 0.1 and quotes PCRs 0 to 7 only: kernel and command line are not covered',
        ]
      : []),
    ...(open.length === 0 ? [] : [`not required: PCRs ${open.join(', ')}, although something was measured into them`]),
    ...(later.length === 0
      ? []
      : [`recorded by value, without events: PCRs ${later.join(', ')}, whose values the event log doesn't reproduce`]),
  ];
}

interface ListOptions extends OutputOptions {
  dir: string;
}

async function listStates(options: ListOptions): Promise<void> {
  const { policy } = await publishedTrust(new FolderKeyStore(options.dir));
  const states = policy.bootStates ?? [];
  const json = states.map((state) => ({
    name: state.name,
    pcrs: statePcrs(state).map(({ pcr }) => pcr),
    events: state.events?.length ?? 0,
  }));
  const lines = json.map(({ name, pcrs, events }) => `${name}: PCRs ${pcrs.join(', ')}, ${events || 'no'} events`);
  new Output(options).result({ states: json }, lines.length === 0 ? ['none: any boot is accepted'] : lines);
}

async function removeState(name: string, options: ListOptions & { anyBoot?: boolean }): Promise<void> {
  const store = new FolderKeyStore(options.dir);
  const { policy } = await publishedTrust(store);
  const states = policy.bootStates ?? [];
  const others = states.filter((state) => state.name !== name);
  if (others.length === states.length) {
    const names = states.map((state) => state.name).join(', ') || 'none';
    throw new CliError(EXIT.usage, `expected a golden boot state of the installation (${names}), got ${name}`);
  }
  if (others.length === 0 && options.anyBoot !== true) {
    throw new CliError(EXIT.usage, `${name} is the last golden boot state: without it any boot is accepted`, {
      hint: 'record the next one first, or pass --any-boot',
    });
  }
  const { sequence } = await publishTrustBundle(store, {
    policy: { ...policy, bootStates: others.length === 0 ? undefined : others },
  });
  new Output(options).done(`boot state ${name} is no longer accepted from trust bundle ${sequence} on`);
}

async function publishedTrust(store: KeyStore): Promise<TrustBundle> {
  const published = await readPublishedTrust(store);
  if (published) return published.bundle;
  throw new KeyStoreError('keystore.missing', 'expected trust-bundle.jws in the key store, got none');
}

async function makeState(
  { evidence: file, name, pcrs, at }: Options,
  trust: TrustBundle,
): Promise<{ state: BootState; boot: MeasuredBoot }> {
  const now = at === undefined ? dateOf(systemClock) : parseTime('--at', at, 'beginning');
  const text = await readInput(file, 'the evidence', { exitCode: EXIT.failure });
  // A new state is one that the policy doesn't allow yet; all its other rules hold.
  const policy = { ...trust.policy, bootStates: undefined };
  let evidence: Evidence | undefined;
  try {
    evidence = readEvidenceJson(text);
    const { boot } = verifyEvidence(evidence, { trust, expected: { situation: 'archived' }, policy, now });
    return { state: recordBootState(name, boot, pcrs), boot };
  } catch (cause) {
    if (cause instanceof EvidenceFileError)
      throw new CliError(EXIT.failure, `${file}: ${cause.message}`, { code: cause.code }, { cause });
    if (cause instanceof BootStateError)
      throw new CliError(EXIT.failure, cause.message, { code: cause.code }, { cause });
    if (!(cause instanceof EvidenceError) || evidence === undefined) throw cause;
    const hint = hintOfTime(cause, evidence, { trust, policy, now });
    if (hint === undefined) throw cause;
    throw new CliError(EXIT.attestation, cause.message, { code: cause.code, step: cause.step, hint }, { cause });
  }
}

function parsePcrs(text: string): number[] {
  const pcrs = text.split(',').map((part) => (/^\d{1,2}$/.test(part.trim()) ? Number(part) : -1));
  if (pcrs.some((pcr) => !BOOT_PCRS.includes(pcr)))
    throw new InvalidArgumentError('expected PCRs from 0 to 15, such as 0,2,4,7,8,9');
  return pcrs;
}
