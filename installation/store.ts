import { CodedError } from '../errors/coded-error';
import type { KeyStoreCode } from '../errors/operator';

/**
 * The keys of an installation that an operator makes and replaces, by name. `.key` and `.json` hold secrets (but `trust-bundle.json`):
 * - token-keys.json, revocation-keys.json, licence-keys.json, log-keys.json: private JWK Sets, the new key first
 * - second-factor-keys.json: JWK Set of symmetric keys
 * - trust-key.json: private JWK
 * - *-ca.key, *-ca.crt: PEM; several while an authority is rotated
 * - trust-bundle.jws: what clients pin, signed; trust-bundle.json: the same for people to read, believed by nobody
 */
export type KeyName =
  | 'token-keys.json'
  | 'revocation-keys.json'
  | 'licence-keys.json'
  | 'second-factor-keys.json'
  | 'log-keys.json'
  | 'trust-key.json'
  | 'client-ca.key'
  | 'client-ca.crt'
  | 'attestation-ca.key'
  | 'attestation-ca.crt'
  | 'server-ca.crt'
  | 'admin-ca.key'
  | 'admin-ca.crt'
  | 'trust-bundle.jws'
  | 'trust-bundle.json';

/** Where an installation keeps them: a folder on one machine, Secrets and ConfigMaps in a cluster. */
export interface KeyStore {
  /** Undefined where there is none. */
  read(name: KeyName): Promise<string | undefined>;
  /** Each file whole or not at all, in the order given. */
  write(files: ReadonlyArray<readonly [KeyName, string]>): Promise<void>;
  /** Where `name` is, or would be, in words for an operator. */
  placeOf(name: KeyName): string;
  /** Seconds until every program has read a change: what is new signs only after that. */
  readonly settleSeconds: number;
}

/** The key store can't be used as asked. `code` is stable; messages hold no key. */
export class KeyStoreError extends CodedError<KeyStoreCode> {
  override readonly name = 'KeyStoreError';

  constructor(
    code: KeyStoreCode,
    message: string,
    readonly hint?: string,
    options?: ErrorOptions,
  ) {
    super(code, message, options);
  }
}

/** @throws KeyStoreError keystore.missing */
export async function readRequiredKey(store: KeyStore, name: KeyName): Promise<string> {
  const text = await store.read(name);
  if (text === undefined) throw new KeyStoreError('keystore.missing', `expected ${name} in the key store, got none`);
  return text;
}

/** The same key store, with a trust key that is kept elsewhere: it is read from here and never written. */
export function withTrustKey(store: KeyStore, trustKey: string): KeyStore {
  return {
    settleSeconds: store.settleSeconds,
    placeOf: (name) => store.placeOf(name),
    read: (name) => (name === 'trust-key.json' ? Promise.resolve(trustKey) : store.read(name)),
    write: (files) => store.write(files),
  };
}
