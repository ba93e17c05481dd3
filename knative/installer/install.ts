import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readRequiredKey } from '../../installation/store';
import { publishTrustBundle, readPublishedTrust, TrustKeyAwayError } from '../../installation/trust';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { fingerprint } from '../../attestation/trust/public-key';
import { systemClock } from '../../runtime/clock';
import { apply, find, kubectl, KubectlError } from '../../runtime/kubernetes/kubectl';
import { readText } from '../../runtime/text/utf8';
import type { Run } from './flags';
import type { Installation } from './installation';
import { ATTESTORS, configMaps, createKeys, replaceDatabaseUrl, SERVICES } from './keys';
import { applyManifests } from './manifests';

interface Job {
  next: Installation;
  /** `installation.yaml` as the cluster keeps it. */
  file: string;
  run: Run;
  databaseUrl?: string;
  isOtherDatabase: boolean;
  /** The folder `knative`. */
  manifests: string;
}

export const say = (text: string): void => void process.stderr.write(`install: ${text}\n`);

/** @throws KubectlError, KeyStoreError */
export async function install({ next, file, run, databaseUrl, isOtherDatabase, manifests }: Job): Promise<void> {
  say('namespaces and keys');
  await kubectl(['apply', '--server-side', '--force-conflicts', '-f', join(manifests, 'base', 'namespaces.yaml')]);
  const trustKey = run.trustKeyFile && (await readText(run.trustKeyFile));
  const store = await createKeys({ trustDomain: next.trustDomain, databaseUrl, trustKey });
  await apply(configMaps(next, file));
  const signed = run.signedTrustBundle && (await readText(run.signedTrustBundle));
  const publish = (choices: Parameters<typeof publishTrustBundle>[1]): Promise<TrustBundle> =>
    publishTrustBundle(store, choices, { signed }).catch(async (error: unknown) => {
      if (error instanceof TrustKeyAwayError) await leaveToSign(error, run.trustBundle);
      throw error;
    });

  const before = (await readPublishedTrust(store))?.bundle;
  const imageDigest = digestOf(next);
  const earlierImages = run.retireImages ? [] : imagesThatStay(next, before);
  const policy = { ...before?.policy, softwareTpm: next.softwareTpm, imageDigests: [imageDigest, ...earlierImages] };
  // Known to clients and to login before the first enclave runs from it.
  if (before !== undefined) await publish({ policy });

  say(`manifests of ${next.overlay}`);
  await applyManifests(next, { manifests, earlierImages });
  if (isOtherDatabase && databaseUrl !== undefined) {
    say('the other database');
    await replaceDatabaseUrl(databaseUrl);
  }

  say('trust bundle');
  const bundle = await publish({
    trustDomain: next.trustDomain,
    services: { signup: await addressOf('signup'), login: await addressOf('login') },
    policy,
  });
  await writeFile(run.trustBundle, `${await readRequiredKey(store, 'trust-bundle.jws')}\n`);

  await untilReady(run.timeout);
  say(`ready; trust bundle for clients: ${run.trustBundle}`);
  say(`give its users this fingerprint over another channel: ${await fingerprint(bundle.trustKey)}`);
}

const digestOf = ({ images }: Installation): string => images.enclave.replace(/^.*@/, '');

/**
 * Digests of enclaves that still get evidence, beside the next one. The one before stays good for a while: enclaves that run, and clients that
 * have yet to hear of the new one, are not cut off.
 */
export function imagesThatStay(next: Installation, published: TrustBundle | undefined): string[] {
  return (published?.policy.imageDigests ?? []).filter((digest) => digest !== digestOf(next)).slice(0, 1);
}

async function untilReady(limit: string): Promise<void> {
  say('waiting for the services');
  const timeout = `--timeout=${limit}`;
  if (await find('statefulset', SERVICES, 'postgres'))
    await kubectl(['rollout', 'status', 'statefulset/postgres', '-n', SERVICES, timeout]);
  const services = ['signup', 'login', 'enrol', 'admin'].map((name) => `ksvc/${name}`);
  await kubectl(['wait', '--for=condition=Ready', timeout, '-n', SERVICES, ...services]);
  say('waiting for the attestors');
  await kubectl(['rollout', 'status', 'daemonset/attestor', '-n', ATTESTORS, timeout]);
}

/** What has to be signed elsewhere, beside the bundle that it becomes. */
async function leaveToSign({ unsigned }: TrustKeyAwayError, trustBundle: string): Promise<void> {
  const [file, next] = [`${trustBundle}.unsigned.json`, `${trustBundle}.next`];
  await writeFile(file, unsigned);
  say(`to sign where the trust key is: sls admin trust-bundle sign ${file} --trust-key KEY --out ${next}`);
  say(`then run this again with --signed-trust-bundle ${next}`);
}

/** Knative gives a Service its address before anything runs. */
async function addressOf(name: string): Promise<string> {
  for (let attempt = 0; attempt < 120; attempt += 1) {
    const service = await find<{ status?: { url?: string } }>('ksvc', SERVICES, name);
    if (service?.status?.url !== undefined) {
      const url = new URL(service.status.url);
      return `${url.protocol}//${url.host}${url.port === '' ? (url.protocol === 'https:' ? ':443' : ':80') : ''}`;
    }
    await systemClock.sleep(500);
  }
  throw new KubectlError(`expected an address for ${name} from Knative within a minute, got none`);
}
