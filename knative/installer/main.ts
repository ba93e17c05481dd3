import { join } from 'node:path';
import { dump, loadAll } from 'js-yaml';
import { distFolder } from '../../runtime/config/dist';
import { KeyStoreError } from '../../installation/store';
import { readPublishedTrust } from '../../installation/trust';
import { KubectlError } from '../../runtime/kubernetes/kubectl';
import { readText } from '../../runtime/text/utf8';
import { changesOf, installCommand } from './flags';
import type { Run } from './flags';
import {
  checkInstallation,
  InstallationError,
  installationJsonSchema,
  merge,
  readDraft,
  renderInstallation,
} from './installation';
import type { Draft, Installation } from './installation';
import { readInstalled } from './installed';
import { imagesThatStay, install, say } from './install';
import { clusterKeys, configMaps, readDatabaseUrl } from './keys';
import { renderManifests } from './manifests';
import { plan } from './plan';
import type { KubernetesObject, Step } from './plan';
import { refusals } from './refusals';
import type { Refusal } from './refusals';

const manifests = join(distFolder(), '..', 'knative');
const print = (text: string): void => void process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);

/** What is to be installed, and what is now. */
async function decide(run: Run, changes: Draft) {
  const installed = run.print && run.file !== undefined ? undefined : await readInstalled(manifests);
  const text = run.file === undefined ? installed?.text : await readText(run.file);
  const base = run.file === undefined ? (installed?.draft ?? {}) : readDraft(text ?? '', run.file);
  const next = checkInstallation(merge(base, changes));
  // Somebody's own comments stay as long as no flag says something else than the file.
  const file = text !== undefined && Object.keys(changes).length === 0 ? text : renderInstallation(next);
  return { before: installed && checkInstallation(installed.draft), next, file };
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
  const { before, next, file } = await decide(run, changes);
  if (run.print) return print(await printable(next, file));

  const databaseUrl = run.databaseUrlFile === undefined ? undefined : (await readText(run.databaseUrlFile)).trim();
  const installedUrl = before && (await readDatabaseUrl());
  const refused = refusals(before && { installation: before, databaseUrl: installedUrl }, next, {
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
  const isUsage = error instanceof TypeError || error instanceof InstallationError;
  if (!isUsage && !(error instanceof KubectlError || error instanceof KeyStoreError)) throw error;
  for (const line of error.message.split('\n')) say(line);
  if (error instanceof KeyStoreError && error.hint !== undefined) say(error.hint);
  process.exitCode = isUsage ? 2 : 1;
});
