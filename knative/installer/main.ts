import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { dump, loadAll } from 'js-yaml';
import { distFolder } from '../../runtime/config/dist';
import { ConfigError } from '../../runtime/config/environment';
import { KeyStoreError } from '../../installation/store';
import { readPublishedTrust } from '../../installation/trust';
import { KubernetesApi } from '../../runtime/kubernetes/api';
import { KubernetesError } from '../../runtime/kubernetes/errors';
import { KubectlError } from '../../runtime/kubernetes/kubectl';
import { checkCluster } from './check';
import { checkChoicesOf } from './check-choices';
import { describeFinding } from './findings';
import { changesOf, installCommand } from './flags';
import { readGiven } from './given-file';
import type { Run } from './flags';
import {
  checkInstallation,
  InstallationError,
  installationJsonSchema,
  merge,
  PROGRAMS,
  readDraft,
  renderInstallation,
} from './installation';
import type { Draft, Installation } from './installation';
import { readInstalled } from './installed';
import type { Installed } from './installed';
import { imagesThatStay, install, say } from './install';
import { clusterKeys, configMaps, readDatabaseUrl } from './keys';
import { renderManifests } from './manifests';
import { requireOpenDatabase } from './network';
import { plan } from './plan';
import type { KubernetesObject, Step } from './plan';
import { refusals } from './refusals';
import type { Refusal } from './refusals';
import { NotReadyError } from './waiting';

const manifests = join(distFolder(), '..', 'knative');
const print = (text: string): void => void process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);

/** What the flags change: the file that was given, or what is installed. */
async function baseOf({ file }: Run, installed: Installed | undefined): Promise<Installed> {
  if (file === undefined) return installed ?? { draft: {} };
  const text = await readGiven('file', file);
  return { text, draft: readDraft(text, file) };
}

/** @throws InstallationError where its overlay is no folder of the manifests: one may have made one's own */
async function withOverlay(installation: Installation): Promise<Installation> {
  const there = await readdir(join(manifests, 'overlays'));
  if (there.includes(installation.overlay)) return installation;
  throw new InstallationError(`overlay: expected ${there.sort().join(', ')}, got ${installation.overlay}`);
}

/** What is to be installed, and what is now. */
async function decide(run: Run, changes: Draft) {
  const installed = run.print && run.file !== undefined ? undefined : await readInstalled(manifests);
  const { text, draft, unknown = [] } = await baseOf(run, installed);
  const next = await withOverlay(checkInstallation(merge(draft, changes)));
  // Somebody's own comments stay as long as no flag says something else than the file.
  const asItIs = text !== undefined && unknown.length === 0 && Object.keys(changes).length === 0;
  const file = asItIs ? text : renderInstallation(next);
  const before = installed && { installation: checkInstallation(installed.draft), unknown: installed.unknown };
  return { before, next, file };
}

function noneWithoutCluster(error: unknown): undefined {
  if (!(error instanceof KubectlError)) throw error;
}

/** Before there are images, and before there is a cluster that has anything: only what the flags or the file say is needed. */
async function check(run: Run, changes: Draft): Promise<void> {
  // What is installed says what neither file nor flags do: then a kubeconfig is the first thing to lack.
  const api = (run.file ?? changes['overlay']) ? undefined : await KubernetesApi.ofUser();
  const installed = run.file === undefined ? await readInstalled(manifests).catch(noneWithoutCluster) : undefined;
  const { draft } = await baseOf(run, installed);
  const images = Object.fromEntries(PROGRAMS.map((name) => [name, `licensing/${name}@sha256:${'0'.repeat(64)}`]));
  const installation = await withOverlay(checkInstallation(merge(merge({ images }, draft), changes)));
  const choices = await checkChoicesOf(installation, manifests);
  for await (const finding of checkCluster(api ?? (await KubernetesApi.ofUser()), choices)) {
    print(describeFinding(finding));
    if (finding.state === 'wrong') process.exitCode = 1;
  }
}

async function main(): Promise<void> {
  const command = installCommand();
  command.parse();
  const run = command.opts<Run>();
  if (run.schema) return print(JSON.stringify(installationJsonSchema(), null, 2));
  const changes = await changesOf(command);
  if (run.show) {
    const installed = await readInstalled(manifests);
    if (installed === undefined) throw new InstallationError('nothing is installed in this cluster');
    return print(installed.text ?? renderInstallation(checkInstallation(installed.draft)));
  }
  if (run.check) return check(run, changes);
  const { before, next, file } = await decide(run, changes);
  if (run.print) return print(await printable(next, file));

  const databaseUrl =
    run.databaseUrlFile === undefined ? undefined : (await readGiven('database-url-file', run.databaseUrlFile)).trim();
  if (databaseUrl !== undefined) requireOpenDatabase(next, databaseUrl);
  const installedUrl = before && (await readDatabaseUrl());
  const refused = refusals(before && { ...before, databaseUrl: installedUrl }, next, {
    databaseUrl,
    accept: run.accept,
  });
  if (run.plan) {
    const published = (await readPublishedTrust(clusterKeys()))?.bundle;
    const earlierImages = run.retireImages ? [] : imagesThatStay(next, published);
    const objects = (loadAll(await printable(next, file, earlierImages)) as KubernetesObject[]).filter(Boolean);
    show(await plan(objects), refused, run);
    if (refused.length > 0) process.exitCode = 1;
    return;
  }
  if (refused.length > 0) throw new InstallationError(refused.map(({ message }) => message).join('\n'));
  const isOtherDatabase = databaseUrl !== undefined && installedUrl !== undefined && databaseUrl !== installedUrl;
  await install({ next, file, run, databaseUrl, isOtherDatabase, manifests });
}

/** All objects but Secrets, and but the trust bundle, which only the installer can sign. */
async function printable(next: Installation, file: string, earlierImages?: string[]): Promise<string> {
  const rendered = await renderManifests(next, { manifests, earlierImages });
  return [...configMaps(next, file).map((object) => dump(object, { lineWidth: -1 })), rendered].join('---\n');
}

function show(steps: readonly Step[], refused: readonly Refusal[], { json }: Run): void {
  if (json) return print(JSON.stringify({ steps, refused }, null, 2));
  for (const { action, object, changes } of steps) {
    print(`${action} ${object}`);
    for (const { field, from, to } of changes) print(`  ${field}: ${from ?? 'none'} -> ${to ?? 'none'}`);
  }
  for (const { message } of refused) print(`refuse: ${message}`);
  if (steps.length + refused.length === 0) print('no change');
}

main().catch((error: unknown) => {
  const isUsage = [TypeError, InstallationError, ConfigError].some((kind) => error instanceof kind);
  const isTold = [KubectlError, KubernetesError, KeyStoreError, NotReadyError].some((kind) => error instanceof kind);
  if (!(isUsage || isTold)) throw error;
  for (const line of (error as Error).message.split('\n')) say(line);
  if (error instanceof KeyStoreError && error.hint !== undefined) say(error.hint);
  process.exitCode = isUsage ? 2 : 1;
});
