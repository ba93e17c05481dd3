import type { HealthService } from '../../proto/gen/grpc/health/v1/health';
import type { AccountDeletionServiceService, AccountServiceService } from '../../proto/gen/licensing/v1/account';
import type { AdminServiceService } from '../../proto/gen/licensing/v1/admin';
import type { AttestorServiceService } from '../../proto/gen/licensing/v1/attestor';
import type { EnclaveServiceService } from '../../proto/gen/licensing/v1/enclave';
import type { EnclaveManagementServiceService } from '../../proto/gen/licensing/v1/enclaves';
import type { EnrolServiceService } from '../../proto/gen/licensing/v1/enrol';
import type { LauncherServiceService } from '../../proto/gen/licensing/v1/launcher';
import type { LicenceServiceService } from '../../proto/gen/licensing/v1/licence';
import type { LoginServiceService } from '../../proto/gen/licensing/v1/login';
import type { SeatServiceService } from '../../proto/gen/licensing/v1/seat';
import type { SessionServiceService } from '../../proto/gen/licensing/v1/session';
import type { TransparencyServiceService } from '../../proto/gen/licensing/v1/transparency';
import type { TrustServiceService } from '../../proto/gen/licensing/v1/trust';

/** Every service there is. Types alone: nothing of it gets into a program that doesn't serve it. */
type Services =
  | typeof HealthService
  | typeof AccountServiceService
  | typeof AccountDeletionServiceService
  | typeof AdminServiceService
  | typeof AttestorServiceService
  | typeof EnclaveServiceService
  | typeof EnclaveManagementServiceService
  | typeof EnrolServiceService
  | typeof LauncherServiceService
  | typeof LicenceServiceService
  | typeof LoginServiceService
  | typeof SeatServiceService
  | typeof SessionServiceService
  | typeof TransparencyServiceService
  | typeof TrustServiceService;

type PathsOf<Service> = Service extends unknown
  ? { [Name in keyof Service]: Service[Name] extends { path: infer Path extends string } ? Path : never }[keyof Service]
  : never;

/** Full name of a method, as on the wire: /licensing.v1.LoginService/Login. */
export type Method = PathsOf<Services>;

/**
 * Whom a method is for. Everyone else gets UNAUTHENTICATED or PERMISSION_DENIED (test/runtime/rpc/rules.authorization.test.ts, against every server).
 * - `anyone`: needs nothing, tells nothing that is secret
 * - `access token`: metadata "authorization: Bearer TOKEN" of an account and a session that are alive. The server itself checks it before the handler is
 *   called (`CallsOptions.authenticate`; refused after every end: test/licensing/sessions/bearer.ended.test.ts)
 * - `refresh token`: in the request
 * - `credential`: one of several in the request: password, access token, refresh token …
 * - `administrator`: metadata "sls-admin-proof" over this very call
 * - `client key`: in the request, a client certificate (an enclave takes its own user's) and a signature by its key
 * - `heartbeat`: in the request, the signature of the enclave in which the seat's session runs
 * - `seat token`: in the request
 * - `TPM`: in the request, an endorsement key that is trusted; then the secret that only its TPM can open
 * - `workload`: on a unix socket, metadata "authorization: Bearer CREDENTIAL" of a workload of this node
 * - `socket owner`: on a unix socket that nobody else can open
 * - `session`: inside TLS with a client certificate of this enclave's user
 * - `attested session`: the same, once Attest has succeeded on that connection
 */
export type Caller =
  | 'anyone'
  | 'access token'
  | 'refresh token'
  | 'credential'
  | 'administrator'
  | 'client key'
  | 'heartbeat'
  | 'seat token'
  | 'TPM'
  | 'workload'
  | 'socket owner'
  | 'session'
  | 'attested session';

/**
 * How long a call may last.
 * - `deadlineMs`: so long, from its request on; a shorter deadline of the caller's counts too
 * - `idleMs`: as long as each side does something within so many milliseconds
 * - `connection`: as long as the connection below it, whose dead end keepalive notices within 40 seconds
 */
type TimeoutPolicy = { deadlineMs: number } | { idleMs: number } | 'connection';

interface Rule {
  caller: Caller;
  timeout: TimeoutPolicy;
  /** Largest request, and largest message of a stream of them, bytes. */
  requestBytes: number;
  cost: Cost;
}

/** What a call costs at most, whoever makes it (test/runtime/rpc/rules.cost.test.ts). What costs more than a look into memory waits its turn: calls.ts. */
interface Cost {
  /** Statements that the database is asked for. What a call merely waits for with others, as a head of the audit log, is not its own. */
  statements: number;
  /** Passwords that are hashed, compared or judged, each in a thread of its own and the dearest that a call can ask of a processor. */
  passwords: number;
  /** Of the answer, and of the largest message of a stream of them: sizes.ts holds them to it. */
  answerBytes: number;
}

const KiB = 1024;
/** For a look into memory, and for one into the database. */
const QUICK: TimeoutPolicy = { deadlineMs: 5_000 };
const QUERY: TimeoutPolicy = { deadlineMs: 15_000 };
/** Waits its turn among passwords that are hashed. */
const HASHING: TimeoutPolicy = { deadlineMs: 30_000 };
/** Ends enclaves, or waits for a TPM. */
const SLOW: TimeoutPolicy = { deadlineMs: 100_000 };

/**
 * What holds for each method: of whom, how long, how large. Servers take their limits from here, and refuse to serve a method that has no row; so a new method
 * needs one line here, and a way to be refused in test/runtime/rpc/rules.authorization.test.ts.
 */
export const RULES = {
  '/grpc.health.v1.Health/Check': {
    caller: 'anyone',
    timeout: QUICK,
    requestBytes: KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 16 * KiB },
  },
  '/grpc.health.v1.Health/Watch': {
    caller: 'anyone',
    timeout: 'connection',
    requestBytes: KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 16 * KiB },
  },

  '/licensing.v1.AccountService/SignUp': {
    caller: 'anyone',
    timeout: HASHING,
    requestBytes: 16 * KiB,
    cost: { statements: 12, passwords: 2, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AccountService/Refresh': {
    caller: 'refresh token',
    timeout: QUERY,
    requestBytes: 16 * KiB,
    cost: { statements: 8, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AccountService/LogOut': {
    caller: 'refresh token',
    timeout: QUERY,
    requestBytes: 16 * KiB,
    cost: { statements: 6, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AccountService/GetOidcSettings': {
    caller: 'anyone',
    timeout: QUICK,
    requestBytes: KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 16 * KiB },
  },
  // Asks the OpenID provider for its keys, which has five seconds for each of two answers.
  '/licensing.v1.AccountService/ExchangeIdToken': {
    caller: 'credential',
    timeout: QUERY,
    requestBytes: 32 * KiB,
    cost: { statements: 20, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AccountService/GetAccount': {
    caller: 'access token',
    timeout: QUERY,
    requestBytes: KiB,
    cost: { statements: 4, passwords: 0, answerBytes: 16 * KiB },
  },
  // Both wait their turn, and one asks the provider besides.
  '/licensing.v1.AccountService/LinkIdentity': {
    caller: 'access token',
    timeout: HASHING,
    requestBytes: 32 * KiB,
    cost: { statements: 18, passwords: 1, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AccountService/UnlinkIdentity': {
    caller: 'access token',
    timeout: HASHING,
    requestBytes: 16 * KiB,
    cost: { statements: 16, passwords: 1, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AccountService/ListSessions': {
    caller: 'access token',
    timeout: QUERY,
    requestBytes: KiB,
    cost: { statements: 3, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.AccountService/RevokeSession': {
    caller: 'access token',
    timeout: QUERY,
    requestBytes: KiB,
    cost: { statements: 6, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AccountService/ChangePassword': {
    caller: 'access token',
    timeout: HASHING,
    requestBytes: 16 * KiB,
    cost: { statements: 24, passwords: 3, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AccountService/GetSecondFactor': {
    caller: 'access token',
    timeout: QUERY,
    requestBytes: KiB,
    cost: { statements: 3, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AccountService/BeginSecondFactor': {
    caller: 'access token',
    timeout: HASHING,
    requestBytes: 16 * KiB,
    cost: { statements: 12, passwords: 1, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AccountService/ConfirmSecondFactor': {
    caller: 'access token',
    timeout: QUERY,
    requestBytes: KiB,
    cost: { statements: 24, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AccountService/DisableSecondFactor': {
    caller: 'access token',
    timeout: HASHING,
    requestBytes: 16 * KiB,
    cost: { statements: 16, passwords: 1, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AccountService/RenewRecoveryCodes': {
    caller: 'access token',
    timeout: HASHING,
    requestBytes: 16 * KiB,
    cost: { statements: 28, passwords: 1, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AccountDeletionService/DeleteAccount': {
    caller: 'access token',
    timeout: SLOW,
    requestBytes: 16 * KiB,
    cost: { statements: 34, passwords: 1, answerBytes: 16 * KiB },
  },

  '/licensing.v1.LoginService/Login': {
    caller: 'credential',
    timeout: { deadlineMs: 240_000 },
    requestBytes: 32 * KiB,
    cost: { statements: 40, passwords: 4, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.LoginService/GetTokenKeys': {
    caller: 'anyone',
    timeout: QUICK,
    requestBytes: KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.TrustService/GetTrustBundle': {
    caller: 'anyone',
    timeout: QUICK,
    requestBytes: KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.TrustService/GetRevocations': {
    caller: 'anyone',
    timeout: QUERY,
    requestBytes: KiB,
    cost: { statements: 1, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.TransparencyService/GetTreeHead': {
    caller: 'anyone',
    timeout: QUERY,
    requestBytes: KiB,
    cost: { statements: 60, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.TransparencyService/GetInclusionProof': {
    caller: 'anyone',
    timeout: QUERY,
    requestBytes: KiB,
    cost: { statements: 4, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.TransparencyService/GetConsistencyProof': {
    caller: 'anyone',
    timeout: QUERY,
    requestBytes: KiB,
    cost: { statements: 4, passwords: 0, answerBytes: 1024 * KiB },
  },

  '/licensing.v1.SeatService/TakeSeat': {
    caller: 'client key',
    timeout: QUERY,
    requestBytes: 64 * KiB,
    cost: { statements: 14, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.SeatService/RenewSeat': {
    caller: 'heartbeat',
    timeout: QUERY,
    requestBytes: 16 * KiB,
    cost: { statements: 10, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.SeatService/EndSeat': {
    caller: 'seat token',
    timeout: QUERY,
    requestBytes: 16 * KiB,
    cost: { statements: 6, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.SeatService/ListSeats': {
    caller: 'access token',
    timeout: QUERY,
    requestBytes: KiB,
    cost: { statements: 6, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.SeatService/FreeSeats': {
    caller: 'access token',
    timeout: QUERY,
    requestBytes: 16 * KiB,
    cost: { statements: 8, passwords: 0, answerBytes: 16 * KiB },
  },

  '/licensing.v1.LicenceService/RedeemLicence': {
    caller: 'credential',
    timeout: HASHING,
    requestBytes: 32 * KiB,
    cost: { statements: 20, passwords: 1, answerBytes: 16 * KiB },
  },
  '/licensing.v1.LicenceService/ListOwnLicences': {
    caller: 'access token',
    timeout: QUERY,
    requestBytes: KiB,
    cost: { statements: 4, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.LicenceService/DropLicence': {
    caller: 'credential',
    timeout: HASHING,
    requestBytes: 32 * KiB,
    cost: { statements: 16, passwords: 1, answerBytes: 16 * KiB },
  },

  '/licensing.v1.EnclaveManagementService/ListEnclaves': {
    caller: 'access token',
    timeout: QUERY,
    requestBytes: KiB,
    cost: { statements: 6, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.EnclaveManagementService/SuspendEnclave': {
    caller: 'access token',
    timeout: SLOW,
    requestBytes: KiB,
    cost: { statements: 6, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.EnclaveManagementService/DeleteEnclave': {
    caller: 'access token',
    timeout: SLOW,
    requestBytes: KiB,
    cost: { statements: 8, passwords: 0, answerBytes: 16 * KiB },
  },

  '/licensing.v1.AdminService/ListNodes': {
    caller: 'administrator',
    timeout: QUERY,
    requestBytes: 32 * KiB,
    cost: { statements: 6, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.AdminService/ApproveNode': {
    caller: 'administrator',
    timeout: QUERY,
    requestBytes: 32 * KiB,
    cost: { statements: 8, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AdminService/Revoke': {
    caller: 'administrator',
    timeout: SLOW,
    requestBytes: 32 * KiB,
    cost: { statements: 10, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AdminService/Restore': {
    caller: 'administrator',
    timeout: QUERY,
    requestBytes: 32 * KiB,
    cost: { statements: 8, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AdminService/ResetSecondFactor': {
    caller: 'administrator',
    timeout: QUERY,
    requestBytes: 32 * KiB,
    cost: { statements: 8, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AdminService/DeleteUser': {
    caller: 'administrator',
    timeout: SLOW,
    requestBytes: 32 * KiB,
    cost: { statements: 20, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AdminService/ListRevocations': {
    caller: 'administrator',
    timeout: QUERY,
    requestBytes: 32 * KiB,
    cost: { statements: 6, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.AdminService/ListOrphans': {
    caller: 'administrator',
    timeout: QUERY,
    requestBytes: 32 * KiB,
    cost: { statements: 6, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.AdminService/PermitOrphans': {
    caller: 'administrator',
    timeout: QUERY,
    requestBytes: 32 * KiB,
    cost: { statements: 8, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AdminService/IssueLicence': {
    caller: 'administrator',
    timeout: QUERY,
    requestBytes: 32 * KiB,
    cost: { statements: 8, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.AdminService/ListLicences': {
    caller: 'administrator',
    timeout: QUERY,
    requestBytes: 32 * KiB,
    cost: { statements: 6, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.AdminService/RevokeLicence': {
    caller: 'administrator',
    timeout: QUERY,
    requestBytes: 32 * KiB,
    cost: { statements: 8, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.AdminService/ReportLicences': {
    caller: 'administrator',
    timeout: QUERY,
    requestBytes: 32 * KiB,
    cost: { statements: 6, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.AdminService/GetAuditTreeHead': {
    caller: 'administrator',
    timeout: SLOW,
    requestBytes: 32 * KiB,
    cost: { statements: 20, passwords: 0, answerBytes: 16 * KiB },
  },
  // Of all records that there are, page by page: statements are those of the first pages, and more come as the caller reads.
  '/licensing.v1.AdminService/ReadAuditLog': {
    caller: 'administrator',
    timeout: 'connection',
    requestBytes: 32 * KiB,
    cost: { statements: 20, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.AdminService/TailAudit': {
    caller: 'administrator',
    timeout: 'connection',
    requestBytes: 32 * KiB,
    cost: { statements: 20, passwords: 0, answerBytes: 1024 * KiB },
  },

  // Some makers' chains are long.
  '/licensing.v1.EnrolService/BeginEnrolment': {
    caller: 'TPM',
    timeout: { deadlineMs: 60_000 },
    requestBytes: 128 * KiB,
    cost: { statements: 1, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.EnrolService/CompleteEnrolment': {
    caller: 'TPM',
    timeout: { deadlineMs: 60_000 },
    requestBytes: 32 * KiB,
    cost: { statements: 8, passwords: 0, answerBytes: 16 * KiB },
  },

  // As long as the workload's credential besides: serveStream in attestor-daemon/service.ts.
  '/licensing.v1.AttestorService/Attest': {
    caller: 'workload',
    timeout: 'connection',
    requestBytes: 32 * KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 1024 * KiB },
  },

  '/licensing.v1.LauncherService/EnsureEnclave': {
    caller: 'socket owner',
    timeout: SLOW,
    requestBytes: KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.LauncherService/StopEnclave': {
    caller: 'socket owner',
    timeout: SLOW,
    requestBytes: KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.LauncherService/FindEnclaves': {
    caller: 'socket owner',
    timeout: QUICK,
    requestBytes: KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.LauncherService/RemoveEnclave': {
    caller: 'socket owner',
    timeout: SLOW,
    requestBytes: KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 16 * KiB },
  },

  '/licensing.v1.EnclaveService/Attest': {
    caller: 'client key',
    timeout: { deadlineMs: 60_000 },
    requestBytes: 64 * KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.EnclaveService/GetCertificate': {
    caller: 'anyone',
    timeout: QUICK,
    requestBytes: KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 16 * KiB },
  },
  // What is inside authenticates both ends, and ends a handshake that takes too long.
  '/licensing.v1.EnclaveService/Tunnel': {
    caller: 'anyone',
    timeout: 'connection',
    requestBytes: 512 * KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 1024 * KiB },
  },

  '/licensing.v1.SessionService/Attest': {
    caller: 'session',
    timeout: { deadlineMs: 60_000 },
    requestBytes: KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.SessionService/HoldSeat': {
    caller: 'attested session',
    timeout: QUICK,
    requestBytes: 16 * KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.SessionService/SignHeartbeat': {
    caller: 'attested session',
    timeout: QUICK,
    requestBytes: KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 16 * KiB },
  },
  // Waits for what it ends.
  '/licensing.v1.SessionService/CloseSession': {
    caller: 'attested session',
    timeout: QUERY,
    requestBytes: KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 16 * KiB },
  },
  // These four need a seat besides, where seats are needed. A command may be silent for days.
  '/licensing.v1.SessionService/Exec': {
    caller: 'attested session',
    timeout: 'connection',
    requestBytes: 1024 * KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.SessionService/PutFile': {
    caller: 'attested session',
    timeout: { idleMs: 120_000 },
    requestBytes: 1024 * KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 16 * KiB },
  },
  '/licensing.v1.SessionService/GetFile': {
    caller: 'attested session',
    timeout: { idleMs: 120_000 },
    requestBytes: 16 * KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.SessionService/Forward': {
    caller: 'attested session',
    timeout: 'connection',
    requestBytes: 1024 * KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 1024 * KiB },
  },
  '/licensing.v1.SessionService/GetStatus': {
    caller: 'attested session',
    timeout: QUICK,
    requestBytes: KiB,
    cost: { statements: 0, passwords: 0, answerBytes: 16 * KiB },
  },
} as const satisfies Record<Method, Rule>;

/** @throws Error for a method that has no row: a mistake of the program's */
export function ruleOf(path: string): Rule {
  if (!Object.hasOwn(RULES, path)) throw new Error(`${path} has no rule: add one to runtime/rpc/rules.ts`);
  return RULES[path as Method];
}
