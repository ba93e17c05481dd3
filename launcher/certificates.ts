import { createPrivateKey, X509Certificate } from 'node:crypto';
import { issueAdminCertificate } from '../licensing/authority/admin';
import { issueServerCertificate } from '../licensing/authority/server';
import { dateOf, every, systemClock } from '../runtime/clock';
import type { Clock, Timer } from '../runtime/clock';
import { readIfThere, writeWhole } from '../runtime/files/whole-file';
import type { CertifiedKey } from '../runtime/keys/key-pair';
import { silent } from '../runtime/log/log';
import type { Logger } from '../runtime/log/log';
import { readText } from '../runtime/text/utf8';
import type { Installation } from './installation';

const DAYS = 90;
/** Renewed when this part of its life is left. */
const RENEWAL_PART = 1 / 3;
/** How often the time of day is looked at: timers stand still while the machine is suspended, and its clock may be set, ahead and back. */
const LOOK_MS = 30_000;
/** The first administrator of one machine's installation is who runs it. */
const ADMIN_NAME = 'local';

type Place = Pick<Installation, 'path' | 'record'>;

/** Makes the certificates of the services' TLS and of the first administrator, or renews them before their end. Nothing pins them but their authorities. */
export async function renewCertificates({ path, record }: Place, clock: Clock = systemClock): Promise<void> {
  const now = dateOf(clock);
  const renew = async (
    key: string,
    certificate: string,
    ca: string,
    issue: (ca: CertifiedKey) => Promise<CertifiedKey>,
  ) => {
    const authority = {
      certificate: await readText(path('keys', `${ca}.crt`)),
      privateKey: await readText(path('keys', `${ca}.key`)),
    };
    const held = { certificate: await readIfThere(certificate), privateKey: await readIfThere(key) };
    if (isGood(held, authority, now)) return;
    const issued = await issue(authority);
    await writeWhole(key, issued.privateKey);
    await writeWhole(certificate, issued.certificate);
  };
  await renew(path('keys', 'server.key'), path('keys', 'server.crt'), 'server-ca', (authority) =>
    issueServerCertificate(authority, { hosts: ['localhost', '127.0.0.1'], days: DAYS, now }),
  );
  await renew(path('admin', 'key.pem'), path('admin', 'certificate.pem'), 'admin-ca', (authority) =>
    issueAdminCertificate(authority, { name: ADMIN_NAME, trustDomain: record.trustDomain, days: DAYS, now }),
  );
}

/** Keeps them good for as long as the installation runs. A failure is tried again at the next look. */
export function keepCertificates(
  installation: Place,
  { clock = systemClock, log = silent, report }: { clock?: Clock; log?: Logger; report(line: string): void },
): Timer {
  let failed = false;
  let renewing = false;
  return every(clock, LOOK_MS, () => {
    if (renewing) return;
    renewing = true;
    renewCertificates(installation, clock)
      .then(
        () => void (failed = false),
        (error: unknown) => {
          log.error({ err: error }, 'certificates not renewed');
          if (!failed) report(`the certificates of the services can not be renewed: ${(error as Error).message}`);
          failed = true;
        },
      )
      .finally(() => (renewing = false));
  });
}

/** Not one that has not begun either: it was made while the clock was ahead. Nor one whose key is another's, as a crash between the two leaves it. */
function isGood(
  held: Partial<Record<keyof CertifiedKey, string | undefined>>,
  authority: CertifiedKey,
  now: Date,
): boolean {
  if (held.certificate === undefined || held.privateKey === undefined) return false;
  const certificate = new X509Certificate(held.certificate);
  if (!certificate.verify(new X509Certificate(authority.certificate).publicKey)) return false;
  if (!certificate.checkPrivateKey(createPrivateKey(held.privateKey))) return false;
  const [from, until] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)];
  return from <= now.getTime() && until - now.getTime() > (until - from) * RENEWAL_PART;
}
