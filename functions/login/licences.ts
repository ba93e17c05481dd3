import { status } from '@grpc/grpc-js';
import type { AccountBackend } from '../../licensing/accounts/backend';
import { isUuid } from '../../attestation/bytes/uuid';
import { applicableLicence, stateOf } from '../../licensing/licences/entitlement';
import { heldLicences } from '../../licensing/licences/holdings';
import type { HeldLicence } from '../../licensing/licences/holdings';
import { LicenceKeyError, verifyLicenceKey } from '../../attestation/licences/key';
import type { LicenceTerms } from '../../attestation/licences/key';
import { planToMessage, stateToMessage } from '../../attestation/licences/messages';
import { dropLicence, licenceRefusal, recordRefusal, redeemLicence } from '../../licensing/licences/redeem';
import { bucketKey, Buckets } from '../../licensing/limits/buckets';
import type { BucketSize } from '../../licensing/limits/buckets';
import { RpcError } from '../../runtime/rpc/errors';
import { unary } from '../../runtime/rpc/handlers';
import type { CallContext } from '../../runtime/rpc/handlers';
import { toUnixSeconds } from '../../runtime/rpc/unix-time';
import { authenticateBearer, callerOf } from '../../licensing/sessions/bearer';
import type { LicenceServiceServer, OwnLicence, RedeemLicenceRequest } from '../../proto/gen/licensing/v1/licence';
import { authenticate } from './authenticate';
import type { LoginTrust } from './trust';
import { dateOf } from '../../runtime/clock';
import type { Implementation } from '../../runtime/rpc/handlers';

interface LicenceOptions {
  backend: AccountBackend;
  trust: LoginTrust;
  /** Whether there is no login without a licence. */
  required: boolean;
}

/**
 * Of one account, at once and again in an hour: keys that are no good, and licences that are redeemed and given back. A key can't be guessed; but each of
 * these is a record, and nobody is to fill that.
 */
const REFUSED_KEYS = { burst: 20, seconds: 3600 };
const CHANGES = { burst: 20, seconds: 3600 };

function toMessage(held: HeldLicence, applies: boolean, now: Date): OwnLicence {
  const { licence, plan, redeemedAt, until, graceUntil } = held;
  return {
    licence,
    plan: planToMessage(plan),
    redeemedAt: toUnixSeconds(redeemedAt),
    until: toUnixSeconds(until),
    graceUntil: toUnixSeconds(graceUntil),
    state: stateToMessage(stateOf(held, now)),
    applies,
  };
}

async function ownLicences({ database, clock }: AccountBackend, user: string): Promise<OwnLicence[]> {
  const now = dateOf(clock);
  const held = await heldLicences(database, user);
  const first = applicableLicence(held, now)?.licence;
  return held.map((licence) => toMessage(licence, licence === first, now));
}

/** LicenceService: users and their licences. */
export function licenceService({ backend, trust, required }: LicenceOptions): Implementation<LicenceServiceServer> {
  const { database, trustDomain, clock } = backend;
  const buckets = new Buckets(database);

  /** By a password where one came along: who needs a licence for a login, or is kept out by one, may have no token. */
  const whoCalls = async (
    { password, oneTimeCode }: Pick<RedeemLicenceRequest, 'password' | 'oneTimeCode'>,
    context: CallContext,
  ): Promise<string> => {
    if (!password) return (await authenticateBearer(backend, context)).user;
    return (
      await authenticate(
        backend,
        { credential: { $case: 'password', value: password }, oneTimeCode },
        backend.clientOf(context, ''),
        context,
      )
    ).user;
  };

  const limit = async (kind: string, user: string, size: BucketSize, what: string): Promise<void> => {
    const wait = await buckets.take(bucketKey(kind, user), size);
    if (wait > 0)
      throw new RpcError(
        'licence.limited',
        status.RESOURCE_EXHAUSTED,
        `too many ${what}: try again in ${wait} seconds`,
        { details: { retryAfterSeconds: wait } },
      );
  };
  const limitChanges = (user: string): Promise<void> =>
    limit('licence-change', user, CHANGES, 'licences redeemed and given back');

  const readKey = async (user: string, key: string): Promise<LicenceTerms> => {
    try {
      return await verifyLicenceKey(await trust.licenceKeys(), key, { trustDomain, now: dateOf(clock) });
    } catch (cause) {
      if (!(cause instanceof LicenceKeyError)) throw cause;
      await limit('licence', user, REFUSED_KEYS, 'licence keys that were refused');
      await recordRefusal(database, { user, code: cause.code }, backend.log);
      throw new RpcError(
        cause.code,
        cause.code === 'licence.expired' ? status.FAILED_PRECONDITION : status.INVALID_ARGUMENT,
        cause.message,
        { cause },
      );
    }
  };

  return {
    redeemLicence: unary(async (request, context) => {
      const user = await whoCalls(request, context);
      const { licence } = await readKey(user, request.key);
      await limitChanges(user);
      const { again } = await redeemLicence(database, user, licence, dateOf(clock));
      context.log.info({ user, licence, again }, 'licence redeemed');
      return { licence: (await ownLicences(backend, user)).find((own) => own.licence === licence), changed: !again };
    }),
    listOwnLicences: unary(async (_request, context) => ({
      licences: await ownLicences(backend, callerOf(context).user),
      required,
    })),
    dropLicence: unary(async (request, context) => {
      const user = await whoCalls(request, context);
      const { licence } = request;
      if (!isUuid(licence))
        throw licenceRefusal('licence.not_held', 'your account has no such licence', status.NOT_FOUND);
      await limitChanges(user);
      await dropLicence(database, user, licence);
      context.log.info({ user, licence }, 'licence given back');
      return {};
    }),
  };
}
