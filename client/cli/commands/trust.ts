import type { Command } from 'commander';
import { DEFAULT_ENCLAVE } from '../../../attestation/evidence/enclave-name';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { fingerprint, isSameKey } from '../../../attestation/trust/public-key';
import type { SignedTrust } from '../../../attestation/trust/signed-bundle';
import { CliError, EXIT } from '../exit';
import { addExample, addOutputOptions, addTrustOptions } from '../options';
import type { CommonOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { confirm, confirmTyped } from '../prompt';
import { endAtService, endSession, readSession, sessionFiles } from '../session-file';
import type { SavedSession } from '../session-file';
import { isBadState } from '../state';
import { readTokenFile, removeTokenFile } from '../token-file';
import { describeTrust } from '../trust-report';
import { fetchTrustBundle } from '../trust-fetch';
import {
  loadTrust,
  pinnedTrust,
  pinTrust,
  plainPinnedKey,
  readSignedTrust,
  refuseOlder,
  requireFingerprint,
  trustFile,
  unpinTrust,
} from '../trust';
import { TrustMemory } from '../trust-memory';
import { readInput, STANDARD_INPUT } from '../input';

/** `sls trust …`: manage the installation that this client trusts. */
export function addTrust(program: Command): void {
  const trust = program.command('trust').description('manage the installation that this client trusts');

  const add = trust
    .command('add')
    .description('trust an installation: pin its trust key, and accept newer bundles signed by it from then on')
    .argument(
      '<bundle>',
      "signed trust bundle from your operator, - for standard input, or the login service's address, such as https://login.example.com",
    )
    .option(
      '--fingerprint <fingerprint>',
      'fingerprint of the trust key, from your operator over another channel (default: ask)',
    );
  addOutputOptions(add).action(runAdd);
  addExample(add, 'sls trust add sls-trust.jws', 'sls trust add https://login.example.com --fingerprint SHA256:…');

  const show = trust.command('show').description('show the pinned trust bundle');
  addTrustOptions(addOutputOptions(show)).action(async (options: CommonOptions) => {
    const bundle = await loadTrust(options);
    const { json, lines } = await describeTrust(bundle);
    new Output(options).result(json, lines);
  });
  addExample(show, 'sls trust show');

  const remove = trust
    .command('remove')
    .description('stop trusting the installation, and end your sessions with it')
    .option('--yes', 'skip the confirmation');
  addOutputOptions(remove).action(runRemove);
  addExample(remove, 'sls trust remove');
}

async function runAdd(source: string, options: OutputOptions & { fingerprint?: string }): Promise<void> {
  const out = new Output(options);
  const offered = await readBundle(source);
  const { bundle } = offered;
  const shown = await fingerprint(bundle.trustKey);
  const plainKey = await plainPinnedKey();
  const found = plainKey === undefined ? await pinnedOr(out) : undefined;
  const pinned = found === 'unreadable' ? undefined : found;
  const pinnedKey = pinned?.bundle.trustKey ?? plainKey;
  if (pinnedKey && !isSameKey(pinnedKey, bundle.trustKey)) await refuseChanged(pinnedKey, shown);
  // A key that is pinned already speaks for itself.
  if (!pinned) await confirmFirst(bundle, shown, options.fingerprint, out);
  else if (options.fingerprint !== undefined) requireFingerprint(shown, options.fingerprint);
  await refuseOlder(offered);
  await pinTrust(offered);
  out.done(`${bundle.trustDomain} is trusted, by trust key ${shown}`);
  out.result({ ...(await describeTrust(bundle)).json, file: trustFile() }, []);
}

/** Nothing that its operator signed. */
const FORGED = new Set<string>(['trust.signature', 'trust.type']);

/** One that can't be read any more doesn't keep anybody from adding another one, whose fingerprint is compared, or from removing it. */
async function pinnedOr(out: Output): Promise<SignedTrust | 'unreadable' | undefined> {
  try {
    return await pinnedTrust();
  } catch (error) {
    if (!isBadState(error) && !(error instanceof CliError && FORGED.has(error.details.code ?? ''))) throw error;
    out.warning(error.message);
    return 'unreadable';
  }
}

async function confirmFirst(
  bundle: TrustBundle,
  shown: string,
  expected: string | undefined,
  out: Output,
): Promise<void> {
  if (expected !== undefined) return requireFingerprint(shown, expected);
  out.note(`first use of ${bundle.trustDomain}; its trust key has the fingerprint`);
  out.note(`    ${shown}`);
  if (!(await confirm('Does it match what your operator told you over another channel? Type yes: '))) {
    throw new CliError(EXIT.attestation, 'the fingerprint was not confirmed: nothing is trusted', {
      code: 'trust.not_confirmed',
    });
  }
}

async function refuseChanged(pinned: TrustBundle['trustKey'], shown: string): Promise<never> {
  throw new CliError(
    EXIT.attestation,
    `THE TRUST KEY HAS CHANGED: expected ${await fingerprint(pinned)}, got ${shown}`,
    {
      code: 'trust.key_changed',
      hint: 'someone may be impersonating your operator. Only if your operator announced a new key over another channel: sls trust remove, then add it again',
    },
  );
}

async function readBundle(source: string): Promise<SignedTrust> {
  if (/^https?:\/\//.test(source)) return fetchTrustBundle(source);
  return readSignedTrust(
    source === STANDARD_INPUT ? 'standard input' : source,
    await readInput(source, 'the trust bundle'),
  );
}

/** A session with an installation that is trusted no longer would go on sending it what this person works on. */
async function runRemove(options: OutputOptions & { yes?: boolean }): Promise<void> {
  const out = new Output(options);
  const found = (await plainPinnedKey()) === undefined ? await pinnedOr(out) : undefined;
  const pinned = found === 'unreadable' ? undefined : found;
  // Which installation it was that can't be read is not known: whatever session was not begun by another file ends.
  const sessions = await sessionsWith(({ trust, trustNamed }) =>
    pinned ? isSameKey(trust.trustKey, pinned.bundle.trustKey) : found === 'unreadable' && trustNamed !== true,
  );
  const tokens = pinned && (await readTokenFile(pinned.bundle).catch(() => undefined));
  const named = [
    ...sessions.map(({ saved }) => `${saved.username}, enclave ${saved.session.enclaveName ?? DEFAULT_ENCLAVE}`),
    ...(tokens ? [`${tokens.username}, not logged in to an enclave yet`] : []),
  ];
  const installation = pinned?.bundle.trustDomain ?? sessions[0]?.saved.trust.trustDomain ?? 'the installation';
  if (named.length > 0) {
    for (const name of named) out.warning(`the session with ${installation} ends: ${name}`);
    const question = `Remove ${installation} and end ${named.length === 1 ? 'this session' : `these ${named.length} sessions`}? Type yes: `;
    if (!options.yes && !(await confirmTyped(question, 'yes')))
      throw new CliError(EXIT.failure, 'nothing is removed: the answer was not yes', { code: 'trust.not_confirmed' });
  }
  let untold = 0;
  for (const { saved, file } of sessions) {
    if (!(await endSession(saved, file))) untold += 1;
    await (await TrustMemory.of(saved.trust)).forgetComparison();
  }
  if (pinned && tokens) {
    await removeTokenFile();
    if (tokens.refreshToken !== undefined && !(await endAtService(pinned.bundle, tokens.refreshToken))) untold += 1;
  }
  if (untold > 0)
    out.warning(`the service could not be told of ${untold}; they expire there after 30 days without use`);
  if (pinned) await (await TrustMemory.of(pinned.bundle)).forgetComparison();
  const removed = await unpinTrust();
  out.done(removed ? 'the trust bundle is removed' : 'there was no trust bundle');
  out.result({ removed, sessionsEnded: named }, []);
}

async function sessionsWith(
  wanted: (saved: SavedSession) => boolean,
): Promise<Array<{ saved: SavedSession; file: string }>> {
  const found: Array<{ saved: SavedSession; file: string }> = [];
  for (const file of await sessionFiles()) {
    const saved = await readSession(file).catch(() => undefined);
    if (saved && wanted(saved)) found.push({ saved, file });
  }
  return found;
}
