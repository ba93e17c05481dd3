/**
 * The client as a library: sign up, log in, verify, connect, work.
 *
 * Errors carry a stable `code`: `RpcError` (a service refused, or can't be reached), `AttestationRefused` (the enclave could
 * not be verified; nothing was sent to it), `LoginError`, `TrustError`, `EvidenceError`, `PolicyError`, `LogError`,
 * `LicenceKeyError`, `OidcProviderError`, `DeviceLoginError`, `PlaintextRefused`. The library logs nothing.
 *
 * @example
 * const trust = await readTrustedBundle(await readFile('sls-trust.jws', 'utf8'), fingerprintFromYourOperator);
 * const session = await login(trust, { credential: { username, password } });
 * const enclave = await connect(trust, session);
 * await enclave.exec(['sha256sum', '-'], { stdin: createReadStream('thesis.pdf'), stdout: process.stdout, stderr: process.stderr });
 * enclave.close();
 */
export { serializeTrustBundle } from '../attestation/trust/bundle';
export { readTrustedBundle, TrustError } from '../attestation/trust/signed-bundle';
export type { TrustBundle } from '../attestation/trust/bundle';
export { EvidenceError, PolicyError } from '../attestation/evidence/errors';
export { readEvidenceJson, writeEvidenceJson } from '../attestation/evidence/json';
export { LicenceKeyError } from '../attestation/licences/key';
export type { LicenceTerms } from '../attestation/licences/key';
export type { Plan } from '../attestation/licences/plan';
export type { Policy } from '../attestation/evidence/policy';
export { verifyEvidence } from '../attestation/evidence/verify';
export type { VerifiedEvidence } from '../attestation/evidence/verify';
export { OidcProviderError } from '../runtime/oidc/errors';
export { RpcError } from '../runtime/rpc/errors';
export { LogError } from '../attestation/transparency/errors';
export type { KnownHead } from '../attestation/transparency/growth';
export { LoginStage } from '../proto/gen/licensing/v1/login';
export { changePassword, deleteAccount, listSessions, logOut, refresh, revokeSession, signUp } from './account';
export type {
  CallOptions,
  Confirmation,
  LinkedIdentity,
  PasswordChange,
  SessionSummary,
  SessionTokens,
} from './account';
export { checkAuditLog, readLogHead, readOtherHead } from './audit-log';
export type { FoundLogin, LogCheck, LogCheckOptions, LogHead } from './audit-log';
export { PlaintextRefused } from './channel';
export { connect } from './connect/connect';
export type { ConnectOptions } from './connect/connect';
export type { EnclaveConnection } from './connection';
export type { FileSource } from './put-file';
export { AttestationRefused } from './errors';
export type { Phase } from './errors';
export type { VerifiedStep, VerifyingOptions } from './evidence';
export type { TrustOptions } from './fresh-trust';
export type { ForwardOptions, ForwardTarget } from './forward';
export type { CommandControl, CommandExit, ExecOptions } from './exec';
export { dropLicence, listLicences, redeemLicence, verifyLicence } from './licences';
export type { LicenceCredential, OwnLicence, OwnLicenceState } from './licences';
export { readLoginRecord } from './receipt';
export type { LoginReceipt, RecordedLogin } from './receipt';
export { renew } from './renew';
export type { RenewOptions } from './renew';
export {
  beginSecondFactor,
  confirmSecondFactor,
  disableSecondFactor,
  renewRecoveryCodes,
  secondFactor,
} from './second-factor';
export type { BothFactors, SecondFactorSecret, SecondFactorState } from './second-factor';
export { DeviceLoginError, logInByDevice } from './oidc/device-login';
export type { DeviceCode, DeviceLoginOptions } from './oidc/device-login';
export { accountSummary, exchangeIdToken, linkIdentity, oidcSettings, unlinkIdentity } from './oidc/service';
export type { AccountSummary, OidcLogin, OidcSettings, OwnerFactors } from './oidc/service';
export { renewEvidence as attest, login, LoginError } from './service';
export type { RenewEvidenceOptions, LoginOptions } from './service';
export { deleteEnclave, listEnclaves, stopEnclave } from './enclaves';
export type { EnclaveSummary } from './enclaves';
export { freeSeats, listSeats } from './seats';
export type { SeatOverview, SeatSummary } from './seats';
export type { SeatOptions } from './seat';
export { parseSession, serializeSession, sessionId } from './session';
export type { Session, SessionLicence } from './session';
