import { join } from 'node:path';
import { readRequiredKey } from '../../installation/store';
import { publishTrustBundle, readPublishedTrust, TrustKeyAwayError } from '../../installation/trust';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { fingerprint } from '../../attestation/trust/public-key';
import { KubernetesApi } from '../../runtime/kubernetes/api';
import { apply, kubectl } from '../../runtime/kubernetes/kubectl';
import { writeNamed } from '../../runtime/name-path';
import { checkCluster } from './check';
import { checkChoicesOf } from './check-choices';
import { describeFinding } from './findings';
import type { Run } from './flags';
import { readGiven } from './given-file';
import { digestOf } from './installation';
import type { Installation } from './installation';
import { configMaps, createKeys, replaceDatabaseUrl } from './keys';
import { applyManifests } from './manifests';
import { addressOf, parseDuration, untilInstalled } from './waiting';

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

/** @throws KubectlError, KubernetesError, KeyStoreError, NotReadyError; TypeError */
export async function install({ next, file, run, databaseUrl, isOtherDatabase, manifests }: Job): Promise<void> {
  const waiting = { timeoutMs: parseDuration(run.timeout), say };
  const api = await KubernetesApi.ofUser();
  await tellProblems(api, next, manifests);

  say('namespaces and keys');
  await kubectl(['apply', '--server-side', '--force-conflicts', '-f', join(manifests, 'base', 'namespaces.yaml')]);
  const trustKey = run.trustKeyFile && (await readGiven('trust-key-file', run.trustKeyFile));
  const store = await createKeys({ trustDomain: next.trustDomain, databaseUrl, trustKey });
  await apply(configMaps(next, file));
  const signed = run.signedTrustBundle && (await readGiven('signed-trust-bundle', run.signedTrustBundle));
  const publish = (choices: Parameters<typeof publishTrustBundle>[1]): Promise<TrustBundle> =>
    publishTrustBundle(store, choices, { signed }).catch(async (error: unknown) => {
      if (error instanceof TrustKeyAwayError) await leaveToSign(error, run.trustBundle);
      throw error;
    });

  const before = (await readPublishedTrust(store))?.bundle;
  const imageDigest = digestOf(next.images.enclave);
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
    services: { signup: await addressOf(api, 'signup', waiting), login: await addressOf(api, 'login', waiting) },
    policy,
  });
  await writeNamed(run.trustBundle, `${await readRequiredKey(store, 'trust-bundle.jws')}\n`);

  say('waiting for the services and the attestors');
  await untilInstalled(api, waiting);
  say(`ready; trust bundle for clients: ${run.trustBundle}`);
  say(`give its users this fingerprint over another channel: ${await fingerprint(bundle.trustKey)}`);
}

/** What was asked for is done, whatever is found here: it may be wrong for a while, or right in a way that isn't known. */
async function tellProblems(api: KubernetesApi, next: Installation, manifests: string): Promise<void> {
  say('looking at the cluster');
  for await (const finding of checkCluster(api, await checkChoicesOf(next, manifests)))
    if (finding.state !== 'ok') say(describeFinding(finding));
}

/**
 * Digests of enclaves that still get evidence, beside the next one. The one before stays good for a while: enclaves that run, and clients that
 * have yet to hear of the new one, are not cut off.
 */
export function imagesThatStay(next: Installation, published: TrustBundle | undefined): string[] {
  return (published?.policy.imageDigests ?? [])
    .filter((digest) => digest !== digestOf(next.images.enclave))
    .slice(0, 1);
}

/** What has to be signed elsewhere, beside the bundle that it becomes. */
async function leaveToSign({ unsigned }: TrustKeyAwayError, trustBundle: string): Promise<void> {
  const [file, next] = [`${trustBundle}.unsigned.json`, `${trustBundle}.next`];
  await writeNamed(file, unsigned);
  say(`to sign where the trust key is: sls admin trust-bundle sign ${file} --trust-key KEY --out ${next}`);
  say(`then run this again with --signed-trust-bundle ${next}`);
}
