import type { RpcError } from '../../runtime/rpc/errors';
import type { Database } from '../store/database';
import { applicableLicence, toEntitlement } from './entitlement';
import type { Entitlement } from './entitlement';
import { heldLicences } from './holdings';
import { licenceRefusal, recordRefusal } from './redeem';
import type { Logger } from '../../runtime/log/log';

/**
 * Whether a user may log in, by their licences. Who has one logs in by it or, when it is over, not at all until they redeem another one or give it back: a
 * plan that changes by itself would be noticed too late. A refusal is recorded.
 * @param options.required whether who has none is refused
 * @returns undefined for who has none
 * @throws RpcError FAILED_PRECONDITION licence.required, licence.expired, licence.revoked
 */
export async function admitByLicence(
  database: Database,
  user: string,
  { required, now, log }: { required: boolean; now: Date; log?: Logger },
): Promise<Entitlement | undefined> {
  const found = applicableLicence(await heldLicences(database, user), now);
  const refuse = async (refusal: RpcError): Promise<never> => {
    await recordRefusal(database, { user, licence: found?.licence.licence, code: refusal.code }, log);
    throw refusal;
  };
  if (!found)
    return required
      ? refuse(licenceRefusal('licence.required', 'a licence is needed here, and your account has none'))
      : undefined;
  const { licence, state } = found;
  const name = `your licence ${licence.licence} (${licence.plan.name})`;
  if (state === 'revoked') return refuse(licenceRefusal('licence.revoked', `${name} was revoked`));
  if (state === 'expired')
    return refuse(licenceRefusal('licence.expired', `${name} expired at ${licence.until.toISOString()}`));
  return toEntitlement(licence);
}

/**
 * Whether an image may run by a licence.
 * @param image sha256:HEX
 * @throws RpcError FAILED_PRECONDITION licence.image; it is recorded
 */
export async function admitImage(
  database: Database,
  user: string,
  entitlement: Entitlement | undefined,
  image: string,
  log?: Logger,
): Promise<void> {
  if (entitlement?.images === undefined || entitlement.images.includes(image)) return;
  const { licence, plan } = entitlement;
  await recordRefusal(database, { user, licence, code: 'licence.image' }, log);
  throw licenceRefusal(
    'licence.image',
    `your licence ${licence} (${plan}) is for other images than the one that runs here, ${image}`,
  );
}
