import { status } from '@grpc/grpc-js';
import type { AdministratorCode } from '../../../errors/administrator';
import type { EnrolmentCode } from '../../../errors/attestor';
import type { ClientCode } from '../../../errors/client';
import type { Code } from '../../../errors/codes';
import type { MachineCode, OperatorCode } from '../../../errors/operator';
import type { ChainCode, ParsingCode } from '../../../errors/verifier';
import { ATTESTOR, ENCLAVE } from './enclave';
import { failed, unauthenticated, unavailable } from './failure';
import type { Failure } from './failure';
import {
  BUSY,
  CLIENT_CERTIFICATES,
  LICENCE_KEYS,
  LOG_IN_AGAIN,
  OIDC_PROVIDER,
  SEAT_TOKENS,
  SERVICES,
  TRANSPORT,
  TRY_AGAIN,
  UNREACHABLE,
} from './services';
import { VERIFICATION } from './verification';

const CLIENT: Record<ClientCode, Failure> = {
  ...OIDC_PROVIDER,
  ...UNREACHABLE,
  'oidc.denied': unauthenticated('to start over: sls login --oidc'),
  'oidc.code_expired': unauthenticated('to start over: sls login --oidc'),
  'oidc.no_device_codes': failed('ask your operator'),
  'oidc.client_refused': failed(
    'ask your operator: the OpenID provider has to know the service as a client that may use device codes',
  ),
  'login.no_result': failed(),
  'login.wrong_certificate': failed(),
  'login.session_over': failed(),
  'client.plaintext_refused': failed(),
  'sls.failed': failed(),
  'sls.usage': failed(),
  'state.damaged': unauthenticated(LOG_IN_AGAIN),
  'state.unreadable': unauthenticated(LOG_IN_AGAIN),
  'state.unwritable': failed(),
  'log.none': failed(),
  'log.memory_damaged': failed(),
  'trust.not_confirmed': failed(),
  'trust.unknown_key': failed(),
  'trust.memory_damaged': failed(),
  'session.other_installation': failed(),
};

/** What administrators and operators are told says by itself what to do, and for bytes that can't be parsed there is no advice. */
type Unlisted = AdministratorCode | EnrolmentCode | OperatorCode | MachineCode | Exclude<ParsingCode, ChainCode>;

/** Every code that a user of `sls` may meet: a new one doesn't compile until it is decided here. */
const FAILURES: Record<Exclude<Code, Unlisted>, Failure> = {
  ...SERVICES,
  ...LICENCE_KEYS,
  ...SEAT_TOKENS,
  ...CLIENT_CERTIFICATES,
  ...ENCLAVE,
  ...ATTESTOR,
  ...TRANSPORT,
  ...VERIFICATION,
  ...CLIENT,
};

/** For codes that are not listed, of later releases as well. */
const BY_STATUS: Partial<Record<status, Failure>> = {
  [status.UNAUTHENTICATED]: unauthenticated(LOG_IN_AGAIN),
  [status.PERMISSION_DENIED]: unauthenticated(LOG_IN_AGAIN),
  [status.RESOURCE_EXHAUSTED]: unavailable(BUSY),
  [status.ABORTED]: unavailable('try again'),
  [status.UNAVAILABLE]: unavailable(TRY_AGAIN),
  [status.DEADLINE_EXCEEDED]: unavailable(TRY_AGAIN),
};

/** @param grpcStatus of an error that came over the wire */
export function failureOf(code: Code, grpcStatus?: status): Failure {
  const known: Partial<Record<Code, Failure>> = FAILURES;
  // A peer chooses its codes: "constructor" is none.
  if (Object.hasOwn(known, code)) return known[code] ?? failed();
  return (grpcStatus === undefined ? undefined : BY_STATUS[grpcStatus]) ?? failed();
}
