import { TpmCommandError } from './errors';

/** TPM_RC_BAD_AUTH and TPM_RC_AUTH_FAIL, of the first session or the first handle (Part 2, 6.6.3). */
const WRONG_AUTHORIZATION = [0x9a2, 0x98e, 0x1a2, 0x18e];
/** TPM_RC_LOCKOUT. */
export const LOCKOUT = 0x921;

export function lockedOut(options?: ErrorOptions): TpmCommandError {
  return new TpmCommandError(
    'tpm.locked_out',
    'the TPM refuses authorizations after too many wrong ones (TPM_RC_LOCKOUT): wait, or clear it with tpm2_dictionarylockout --clear-lockout',
    LOCKOUT,
    options,
  );
}

/** TPM_RC_AUTH_FAIL, TPM_RC_BAD_AUTH (session 1), TPM_RC_HANDLE: the key at the handle isn't ours any more. */
const KEY_GONE = [0x98e, 0x9a2, 0x18b];

/** Of a quote that the TPM refused. @throws TpmCommandError tpm.key_lost where the key is gone, or else the error */
export function keyLost(error: unknown): never {
  if (error instanceof TpmCommandError && KEY_GONE.includes(error.responseCode ?? 0))
    throw new TpmCommandError('tpm.key_lost', error.message, error.responseCode, { cause: error });
  throw error;
}

/** Where authorization values of the TPM's hierarchies are, as tpm2-tools take them ("file:PATH"): never the values, which others could read among arguments. */
export interface HierarchyAuthorizations {
  owner?: string;
  endorsement?: string;
}

const HIERARCHIES = {
  owner: { code: 'tpm.owner_auth', setting: 'TPM_OWNER_AUTH_FILE' },
  endorsement: { code: 'tpm.endorsement_auth', setting: 'TPM_ENDORSEMENT_AUTH_FILE' },
} as const;

/**
 * Does work that a hierarchy authorizes. Its refusal is said in words, with the setting that helps.
 * @throws TpmCommandError tpm.owner_auth, tpm.endorsement_auth, tpm.locked_out, or what `work` throws
 */
export async function asHierarchy<T>(
  hierarchy: keyof HierarchyAuthorizations,
  auth: HierarchyAuthorizations,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof TpmCommandError)) throw error;
    const { responseCode } = error;
    if (responseCode === LOCKOUT) throw lockedOut({ cause: error });
    if (!WRONG_AUTHORIZATION.includes(responseCode ?? 0)) throw error;
    const { code, setting } = HIERARCHIES[hierarchy];
    const problem =
      auth[hierarchy] === undefined
        ? `the TPM's ${hierarchy} hierarchy has a password: set ${setting} to a file that holds it`
        : `the TPM's ${hierarchy} hierarchy has another password than the file of ${setting} holds`;
    throw new TpmCommandError(code, problem, responseCode, { cause: error });
  }
}

/** A TPM that this machine has, and this user may not open. */
export function noRights(tcti: string, options?: ErrorOptions): TpmCommandError {
  return new TpmCommandError(
    'tpm.no_rights',
    `expected rights to read and write the TPM at ${tcti}, got permission denied: add the attestor's user to the device's group (tss)`,
    undefined,
    options,
  );
}

export function unavailable(tcti: string, options?: ErrorOptions): TpmCommandError {
  return new TpmCommandError(
    'tpm.unavailable',
    `no TPM answers at ${tcti}: set TPM, or --tpm of sls up, to where it is`,
    undefined,
    options,
  );
}

/** A TPM that may not be opened, or isn't there: from what tpm2-tools wrote. Undefined where it is neither. */
export function explainUnreachable(output: string, tcti: string): TpmCommandError | undefined {
  if (/permission denied|operation not permitted/i.test(output)) return noRights(tcti);
  const away =
    /no such file or directory|could not dlopen|failed to instantiate tcti|could not initialize tcti/i.test(output) &&
    /tcti/i.test(output);
  return away ? unavailable(tcti) : undefined;
}
