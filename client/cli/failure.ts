import { status } from '@grpc/grpc-js';
import { CommanderError } from 'commander';
import { EvidenceError, PolicyError } from '../../attestation/evidence/errors';
import { RpcError } from '../../runtime/rpc/errors';
import { AttestationRefused, DeviceLoginError, LicenceKeyError, LogError, OidcProviderError } from '../index';
import { CliError, EXIT, isSystemError } from './exit';
import { CodedError } from '../../errors/coded-error';

/** What to do about a refusal of the policy. */
const POLICY_HINTS: Record<string, string> = {
  'policy.software_tpm':
    'the trust bundle wants a hardware TPM; to take a software one all the same: sls login --software-tpm allow',
  'policy.image_digest':
    'the enclave runs another image than the one asked for; ask your operator which one is current',
  'policy.boot_state':
    'the machine booted otherwise than your operator approved; nothing of yours was sent: tell your operator which PCR and event it was',
};

/** And of what is trusted no longer. */
const TRUST_HINTS: Record<string, string> = {
  'revocation.node':
    'your operator revoked the node; nothing of yours was sent. Log in again: sls login; if it stays, ask them',
  'revocation.ak':
    "your operator revoked the node's attestation key; nothing of yours was sent. Log in again: sls login; if it stays, ask them",
  'revocation.ek':
    'your operator revoked the TPM of the node; nothing of yours was sent. Log in again: sls login; if it stays, ask them',
  'revocation.user': 'your operator revoked your account: ask them',
  'revocation.session':
    'the session was ended, here or from another machine; nothing of yours was sent. Log in again: sls login',
  'log.record_wrong': 'nothing of yours was sent. The service kept a wrong record of your login: tell your operator',
  'revocation.stale': "nothing was sent; is this machine's clock right?",
  'trust.key_changed':
    'someone may be passing as your operator; nothing was sent. Only if they told you of a new key by another way: sls trust remove, then sls trust add',
};

/** Of the audit log. */
const LOG_HINTS: Record<string, string> = {
  'log.head_signature':
    'whoever answers has no key of the log: someone may be passing as the service. Does your operator say that the keys were replaced? sls trust add brings the newer trust bundle',
  'log.head_malformed': 'is it the service of your trust bundle? sls trust show says which one that is',
  'log.rolled_back':
    'records are gone that were there before: ask your operator. Only if they restored a backup and say so: sls audit forget',
  'log.forked':
    'records were changed, or you are shown another log than others: ask your operator, and show them both heads',
  'log.proof_wrong': 'ask your operator; with sls admin audit verify they see the first record that is wrong',
  'log.record_missing':
    'ask your operator: somebody removed it, or the service shows you another log than the one it writes',
  'log.record_wrong': 'somebody changed the record in the database after it was signed',
  'log.tampered':
    'no record was changed, but proofs that are made of these hashes are refused; somebody changed the database',
  'audit.key_unknown':
    'right after a change of keys, try again in a moment. If it stays, somebody changed the tables: sls admin audit verify names what is wrong',
  'audit.tree_damaged':
    "somebody changed the audit log's tables: the service signs nothing more until its operator has looked; sls admin audit verify names what is wrong",
};

/** Of a licence. */
const LICENCE_HINTS: Record<string, string> = {
  'licence.required': 'your operator has them; sls redeem takes its key',
  'licence.expired':
    'your operator has others: sls redeem takes its key. To do without one where that is allowed: sls licence drop ID',
  'licence.revoked':
    'ask your operator why; sls redeem takes another one. To do without one where that is allowed: sls licence drop ID',
  'licence.full': 'ask your operator for one with room, or have someone give theirs back: sls licence drop ID',
  'licence.unknown': 'ask your operator for another one',
  'licence.image': 'ask your operator which licence is for this image; sls redeem takes its key',
  'licence.not_held': 'sls licence shows which you have',
  'licence.limited':
    'wait that long; a key is taken as it was given, without a character more or less, and once is enough',
  'licence.unknown_key': 'is it of this service? Your trust bundle may be old, too: sls trust add brings a newer one',
  'licence.issuer': 'is it of this service? sls trust show says which one you use',
};
const FORGED_HINT = 'use the licence key as your operator gave it, without a character more or less';
/** Of the second factor. */
const FACTOR_HINTS: Record<string, string> = {
  'login.second_factor_required':
    'pass a code of your authenticator on standard input: with --password-stdin on the line after the password',
  'login.second_factor_wrong':
    'a code works once, for half a minute: wait for the next one, or use a recovery code. Lost both? Ask your operator',
  'account.second_factor_enabled': 'for another authenticator: sls totp disable, then sls totp enable',
  'account.second_factor_disabled': 'get one with sls totp enable',
  'account.second_factor_not_begun': 'begin anew: sls totp enable',
  'account.second_factor_unavailable': 'ask your operator',
};

/** Of logins at an OpenID provider. */
const OIDC_HINTS: Record<string, string> = {
  'oidc.off': 'log in by password: sls login',
  'oidc.denied': 'to begin anew: sls login --oidc',
  'oidc.code_expired': 'to begin anew: sls login --oidc',
  'oidc.no_device_codes': 'ask your operator',
  'oidc.client_refused':
    'ask your operator: the OpenID provider has to know the service as a client that may use device codes',
  'oidc.provider_unavailable': 'is the OpenID provider up? Try again in a moment',
  'oidc.provider_invalid': 'ask your operator: the OpenID provider of the service is not set up right',
  'oidc.token_invalid':
    "to begin anew: sls login --oidc; if it stays, your operator's or the provider's clock or settings may be wrong",
  'oidc.token_used': 'to begin anew: sls login --oidc',
  'oidc.unknown_user': 'ask your operator for an account',
  'oidc.already_bound': 'sls account show says what yours is bound to; sls account unlink takes that back',
  'oidc.not_bound': 'sls account show says how you log in',
  'oidc.other_username': 'leave --username out',
  'account.login_not_fresh': 'log in again: sls login --oidc',
  'account.no_password': 'your OpenID provider has it: change it there',
};

const OIDC_EXITS: Record<string, number> = {
  'oidc.denied': EXIT.authentication,
  'oidc.code_expired': EXIT.authentication,
  'oidc.provider_unavailable': EXIT.unavailable,
};

/** Turns whatever a command threw into a message, a hint and an exit code. */
export function toCliError(error: unknown): CliError {
  if (error instanceof CliError) return error;
  if (error instanceof AttestationRefused || error instanceof EvidenceError || error instanceof PolicyError) {
    return new CliError(
      EXIT.attestation,
      `attestation refused at step ${error.step} (${error.code}): ${error.message}`,
      {
        code: error.code,
        step: error.step,
        hint:
          POLICY_HINTS[error.code] ??
          TRUST_HINTS[error.code] ??
          'nothing of yours was sent; someone may stand between you and the enclave: try again from another network, or ask your operator',
      },
      { cause: error },
    );
  }
  if (error instanceof RpcError) return fromRpc(error);
  if (error instanceof LicenceKeyError) return licenceError(error);
  if (error instanceof LogError) {
    const { code, hint = LOG_HINTS[code], records } = error;
    return new CliError(EXIT.attestation, error.message, { code, hint, ...(records && { records }) }, { cause: error });
  }
  if (error instanceof DeviceLoginError || error instanceof OidcProviderError) {
    const { code } = error;
    return new CliError(
      OIDC_EXITS[code] ?? EXIT.failure,
      error.message,
      { code, hint: OIDC_HINTS[code] },
      { cause: error },
    );
  }
  if (error instanceof CommanderError) {
    return new CliError(error.exitCode === 0 ? EXIT.ok : EXIT.usage, error.message, {}, { cause: error });
  }
  if (error instanceof Error) {
    const { hint } = error as Error & { hint?: unknown };
    return new CliError(
      EXIT.failure,
      error.message,
      { code: codeOf(error), ...(typeof hint === 'string' && { hint }) },
      { cause: error },
    );
  }
  return new CliError(EXIT.failure, String(error));
}

function codeOf(error: Error): CliError['details']['code'] {
  if (error instanceof CodedError) return error.code;
  return isSystemError(error) ? error.code : undefined;
}

function licenceError(error: RpcError | LicenceKeyError): CliError {
  const exit =
    error instanceof RpcError && error.grpcStatus === status.RESOURCE_EXHAUSTED ? EXIT.unavailable : EXIT.failure;
  return new CliError(
    exit,
    error.message,
    { code: error.code, hint: LICENCE_HINTS[error.code] ?? FORGED_HINT },
    { cause: error },
  );
}

function fromRpc(error: RpcError): CliError {
  const { code } = error;
  const options = { cause: error };
  // What a file or a program in the enclave permits has nothing to do with who is logged in.
  if (/^(exec|file)\./.test(code) && error.grpcStatus !== status.UNAVAILABLE)
    return new CliError(EXIT.failure, error.message, { code }, options);
  // The login service looks at evidence before its clients do. Which step refused is in the details, the rest in its log.
  if (code === 'login.evidence_refused' || code === 'seat.evidence_refused') {
    const { refusal = code } = error.details;
    const step = error.details.refusal?.split('.')[0];
    return new CliError(
      EXIT.attestation,
      `attestation refused by the login service${step === undefined ? '' : ` at step ${step}`}: ${error.message}`,
      { code: refusal, step, hint: POLICY_HINTS[refusal] ?? TRUST_HINTS[refusal] },
      options,
    );
  }
  if (code.startsWith('licence.')) return licenceError(error);
  if (code === 'audit.key_unknown')
    return new CliError(EXIT.unavailable, error.message, { code, hint: LOG_HINTS[code] }, options);
  if (code === 'audit.tree_damaged')
    return new CliError(EXIT.attestation, error.message, { code, hint: LOG_HINTS[code] }, options);
  const oidcHint = OIDC_HINTS[code];
  if (oidcHint !== undefined) return new CliError(exitOf(error), error.message, { code, hint: oidcHint }, options);
  const hint = FACTOR_HINTS[code];
  if (hint !== undefined)
    return new CliError(
      error.grpcStatus === status.UNAUTHENTICATED ? EXIT.authentication : EXIT.failure,
      error.message,
      { code, hint },
      options,
    );
  if (code === 'login.revoked')
    return new CliError(EXIT.authentication, error.message, { code, hint: 'ask your operator' }, options);
  switch (error.grpcStatus) {
    case status.UNAUTHENTICATED:
    case status.PERMISSION_DENIED:
      return new CliError(EXIT.authentication, error.message, { code, hint: 'log in again: sls login' }, options);
    case status.RESOURCE_EXHAUSTED:
      if (code === 'seat.none_free')
        return new CliError(
          EXIT.unavailable,
          error.message,
          { code, hint: 'sls seats list shows yours; sls seats free ID gives back one whose session was lost' },
          options,
        );
      if (code === 'login.limited')
        return new CliError(
          EXIT.unavailable,
          error.message,
          { code, hint: 'wait that long; logins by a session that you still have are not held up' },
          options,
        );
      return new CliError(
        EXIT.unavailable,
        error.message,
        { code, hint: 'the service is busy: try again in a moment' },
        options,
      );
    case status.ABORTED:
      return new CliError(EXIT.unavailable, error.message, { code, hint: 'try again' }, options);
    case status.UNAVAILABLE:
    case status.DEADLINE_EXCEEDED:
      return new CliError(EXIT.unavailable, error.message, { code, hint: hintForUnavailable(code) }, options);
    default:
      if (code === 'seat.lapsed')
        return new CliError(
          EXIT.unavailable,
          error.message,
          { code, hint: 'run the command again: it takes a seat anew' },
          options,
        );
      return new CliError(EXIT.failure, error.message, { code }, options);
  }
}

function exitOf({ grpcStatus }: RpcError): number {
  switch (grpcStatus) {
    case status.UNAUTHENTICATED:
    case status.PERMISSION_DENIED:
      return EXIT.authentication;
    case status.UNAVAILABLE:
      return EXIT.unavailable;
    default:
      return EXIT.failure;
  }
}

function hintForUnavailable(code: string): string {
  if (code === 'connection.closed') return 'what ran there has ended with it; the next command connects anew';
  if (code.startsWith('rpc.')) return 'is the service up (sls up), and is it the one of your trust bundle?';
  return 'try again in a moment';
}
