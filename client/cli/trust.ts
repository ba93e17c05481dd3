import { join } from 'node:path';
import { fingerprint, isSameKey } from '../../attestation/trust/public-key';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { checkNotOlder, readSignedBundle, TrustError } from '../../attestation/trust/signed-bundle';
import type { SignedTrust } from '../../attestation/trust/signed-bundle';
import { defaultInstallationFolder } from '../../launcher/folder';
import { CliError, EXIT } from './exit';
import { UPGRADE } from './failures/failure';
import { configFolder } from './folders';
import { readIfThere, removeIfThere, writeWhole } from '../../runtime/files/whole-file';
import { keepIfWritable, readState } from './state';
import { TrustMemory } from './trust-memory';
import { readInput } from './input';

export interface TrustOptions {
  /** --trust FILE */
  trust?: string;
  /** --trust-fingerprint FINGERPRINT: of the trust key of that file. */
  trustFingerprint?: string;
  /** --server HOST: services at FUNCTION.HOST instead of where the bundle says. */
  server?: string;
}

/** What a person wants otherwise than the operator's bundle says. Put over every bundle that comes. */
export interface TrustPreferences {
  policy?: Partial<TrustBundle['policy']>;
  services?: TrustBundle['services'];
}

export function applyPreferences(bundle: TrustBundle, { policy, services }: TrustPreferences): TrustBundle {
  return { ...bundle, policy: { ...bundle.policy, ...policy }, services: services ?? bundle.services };
}

/** Where `sls trust add` keeps the bundle, as its operator signed it. */
export function trustFile(): string {
  return join(configFolder(), 'trust-bundle.jws');
}

/** Where releases before 0.2 kept it without its signature. */
function plainTrustFile(): string {
  return join(configFolder(), 'trust-bundle.json');
}

const ADD_AGAIN = 'get the signed one from your operator: sls trust add FILE, which compares its fingerprint again';

/**
 * The bundle that `sls trust add` kept.
 * @throws CliError when it can't be read, or has no signature
 */
export async function pinnedTrust(): Promise<SignedTrust | undefined> {
  const pinned = await readBundleFile(trustFile(), ADD_AGAIN);
  if (pinned === undefined && (await readIfThere(plainTrustFile())) !== undefined)
    throw new CliError(EXIT.attestation, `${plainTrustFile()} holds a trust bundle without a signature`, {
      code: 'trust.unsigned',
      hint: 'an earlier release stored it there. Get the signed one from your operator: sls trust add FILE',
    });
  return pinned;
}

/** The trust key of a bundle that an earlier release pinned without its signature: good enough to refuse another one, and for nothing else. */
export async function plainPinnedKey(): Promise<TrustBundle['trustKey'] | undefined> {
  const text = await readIfThere(plainTrustFile());
  try {
    return text === undefined ? undefined : (JSON.parse(text) as TrustBundle).trustKey;
  } catch {
    return undefined;
  }
}

/** A person has compared the fingerprint of its trust key. */
export async function pinTrust({ bundle, signed }: SignedTrust): Promise<void> {
  await writeWhole(trustFile(), `${signed}\n`);
  await removeIfThere(plainTrustFile());
  await (await TrustMemory.of(bundle)).rememberComparison();
}

/** @returns false when there was none */
export async function unpinTrust(): Promise<boolean> {
  const plain = await removeIfThere(plainTrustFile());
  return (await removeIfThere(trustFile())) || plain;
}

/**
 * Keeps a newer bundle in the place of the one that `sls trust add` kept, if that is of the same trust key, and remembers it. A file that was named by
 * --trust is its owner's to replace.
 * @returns false when nothing was pinned anew
 */
export async function keepNewerTrust(newer: SignedTrust): Promise<boolean> {
  await (await TrustMemory.of(newer.bundle)).remember(newer);
  const pinned = await pinnedTrust();
  if (!pinned || !isSameKey(pinned.bundle.trustKey, newer.bundle.trustKey)) return false;
  if (newer.bundle.sequence <= pinned.bundle.sequence) return false;
  let kept = false;
  await keepIfWritable(async () => {
    await writeWhole(trustFile(), `${newer.signed}\n`);
    kept = true;
  });
  return kept;
}

/** As `loadSignedTrust`, with the services where --server says. */
export async function loadTrust(options: TrustOptions, reading: { asOfThen?: boolean } = {}): Promise<TrustBundle> {
  const { bundle } = await loadSignedTrust(options, reading);
  return options.server === undefined ? bundle : { ...bundle, services: servicesOf(options.server) };
}

/**
 * Reads the trust bundle: --trust, SLS_TRUST, $XDG_CONFIG_HOME/sls/trust-bundle.jws, the installation of `sls up` on this machine. Where this machine has
 * seen a newer one of the same trust key, it is that.
 * @param reading `asOfThen`: takes an old bundle that is named for what it is, to verify what was good when it was the newest
 * @throws CliError trust.unsigned, trust.signature and the like; trust.unknown_key, trust.fingerprint: nobody compared the key; trust.conflict
 */
export async function loadSignedTrust(
  options: TrustOptions,
  { asOfThen = false }: { asOfThen?: boolean } = {},
): Promise<SignedTrust> {
  const named = options.trust ?? namedByEnvironment();
  if (named === undefined) {
    const usual = await usualTrust();
    if (usual) return newestTrust(usual);
    throw new CliError(EXIT.usage, 'no trust bundle: nothing can be verified without one', {
      hint: 'get it from your operator: sls trust add FILE, or sls trust add https://LOGIN.SERVICE; or start a service on this machine: sls up',
    });
  }
  const trust = await readNamed(named);
  await requireCompared(named, trust, options);
  return asOfThen ? trust : newestTrust(trust);
}

function namedByEnvironment(): string | undefined {
  return process.env['SLS_TRUST'] || undefined;
}

/** What is trusted on this machine unless the command line says otherwise; undefined: nothing. */
export async function standingTrust(): Promise<SignedTrust | undefined> {
  const named = namedByEnvironment();
  return named === undefined ? usualTrust() : readNamed(named);
}

async function usualTrust(): Promise<SignedTrust | undefined> {
  return (await pinnedTrust()) ?? ownTrust();
}

/** Of the installation of `sls up` on this machine, whose keys are this person's. */
async function ownTrust(): Promise<SignedTrust | undefined> {
  return readBundleFile(join(defaultInstallationFolder(), 'trust-bundle.jws'), 'sls up publishes it when it starts');
}

/** @returns the newest bundle of its trust key that this machine has seen. @throws CliError trust.conflict */
export async function newestTrust(trust: SignedTrust): Promise<SignedTrust> {
  try {
    return await (await TrustMemory.of(trust.bundle)).remember(trust);
  } catch (error) {
    throw refusedBundle('the trust bundle', error);
  }
}

/** Refuses a bundle that is older than the newest of its trust key that this machine has seen, or says something else under the same sequence. */
export async function refuseOlder(offered: SignedTrust): Promise<void> {
  const known = await newestTrust(offered);
  try {
    checkNotOlder(known, offered);
  } catch (error) {
    throw refusedBundle('the trust bundle', error);
  }
}

/** A key that nobody compared could be anyone's: that a bundle is signed says nothing then. */
async function requireCompared(place: string, { bundle }: SignedTrust, options: TrustOptions): Promise<void> {
  const memory = await TrustMemory.of(bundle);
  const shown = await fingerprint(bundle.trustKey);
  const ofEnvironment = process.env['SLS_TRUST_FINGERPRINT'] || undefined;
  // That of the environment is about the file of the environment: another one that is named may be of another installation.
  const expected = options.trustFingerprint ?? (options.trust === undefined ? ofEnvironment : undefined);
  if (expected !== undefined) requireFingerprint(shown, expected);
  if (expected !== undefined || shown === ofEnvironment) return memory.rememberComparison();
  if (await memory.isCompared()) return;
  const own = await ownTrust().catch(() => undefined);
  if (own && isSameKey(own.bundle.trustKey, bundle.trustKey)) return;
  throw new CliError(EXIT.attestation, `${place}: the fingerprint of its trust key has not been confirmed: ${shown}`, {
    code: 'trust.unknown_key',
    hint: `compare it with what your operator told you over another channel, then run sls trust add FILE or pass --trust-fingerprint (SLS_TRUST_FINGERPRINT)`,
  });
}

/** @throws CliError trust.fingerprint */
export function requireFingerprint(shown: string, expected: string): void {
  if (shown === expected.trim()) return;
  throw new CliError(EXIT.attestation, `the trust key does not match: expected ${expected.trim()}, got ${shown}`, {
    code: 'trust.fingerprint',
    hint: 'nothing is trusted; the bundle may not be from your operator',
  });
}

/** @throws CliError trust.… */
export async function readSignedTrust(place: string, text: string): Promise<SignedTrust> {
  const signed = text.trim();
  try {
    return { bundle: await readSignedBundle(signed), signed };
  } catch (error) {
    throw refusedBundle(place, error);
  }
}

async function readNamed(place: string): Promise<SignedTrust> {
  return readSignedTrust(place, await readInput(place, 'the trust bundle'));
}

/** @param heal how to come by another one */
async function readBundleFile(file: string, heal: string): Promise<SignedTrust | undefined> {
  return readState({ file, what: 'the trust bundle', heal, exitCode: EXIT.attestation }, async (text) => {
    const signed = text.trim();
    try {
      return { bundle: await readSignedBundle(signed), signed };
    } catch (error) {
      if (error instanceof TrustError && error.code === 'trust.malformed') throw error;
      throw refusedBundle(file, error, heal);
    }
  });
}

/** A refusal of a bundle in the words of the person at the terminal; other errors as they are. */
function refusedBundle(place: string, error: unknown, otherwise?: string): unknown {
  if (!(error instanceof TrustError)) return error;
  const hint =
    error.code === 'trust.unsigned'
      ? { hint: 'the signed one is trust-bundle.jws, or what sls admin trust-bundle export prints' }
      : { hint: error.code === 'trust.newer_release' ? UPGRADE : otherwise };
  // What is no bundle at all is somebody's mistake; what claims to be one is refused.
  const code = error.code === 'trust.malformed' ? EXIT.usage : EXIT.attestation;
  return new CliError(code, `${place}: ${error.message}`, { code: error.code, ...hint }, { cause: error });
}

/** sls.example.com → https://signup.sls.example.com, https://login.sls.example.com; a scheme and a port are kept. */
export function servicesOf(host: string): TrustBundle['services'] {
  const [, scheme = 'https://', rest = ''] = /^(https?:\/\/)?(.*?)\/?$/.exec(host) ?? [];
  if (!/^[A-Za-z0-9.-]+(:\d+)?$/.test(rest)) {
    throw new CliError(EXIT.usage, `expected --server [http://|https://]HOST[:PORT], got ${JSON.stringify(host)}`);
  }
  return { signup: `${scheme}signup.${rest}`, login: `${scheme}login.${rest}` };
}
