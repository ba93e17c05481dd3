import { join } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import { createAllKeys } from '../../../installation/create';
import { createAdministrator } from '../../../installation/administrator';
import { REPLACEABLE_KEYS } from '../../../installation/lost-keys';
import type { KeyName, KeyStore } from '../../../installation/store';
import { CliError, EXIT } from '../exit';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { proveWritable, writeWhole } from '../../../runtime/files/whole-file';
import { addPlaceOptions, openKeyStore, trustDomainOf } from './options';
import type { PlaceOptions } from './options';

interface CertificateOptions {
  name: string;
  days: string;
  out: string;
}

type Options = PlaceOptions & OutputOptions & CertificateOptions;

function addCertificateOptions(command: Command): Command {
  return command
    .requiredOption('--out <folder>', "folder for the administrator's certificate.pem and key.pem")
    .option('--name <name>', 'name of the administrator, as shown in audit records', 'admin')
    .option('--days <days>', "lifetime of the administrator's certificate, in days", '90');
}

/** `sls admin init`: every key of an installation, and the first administrator. `sls up` and the cluster's installer do it as well. */
export function addInit(admin: Command): void {
  const command = admin
    .command('init')
    .description("create an installation's missing keys and an administrator's certificate")
    .option('--trust-domain <name>', 'trust domain of the installation, a DNS-like name', 'sls.local')
    .addOption(
      new Option(
        '--replace-lost <key>',
        'make this key anew although the installation has had it, because it is lost for good',
      ).choices(REPLACEABLE_KEYS),
    );
  addCertificateOptions(addPlaceOptions(addOutputOptions(command))).action(
    async (options: Options & { trustDomain: string; replaceLost?: KeyName }) => {
      const store = await openKeyStore(options);
      await requireWritable(options.out);
      await createAllKeys(store, {
        trustDomain: options.trustDomain,
        replaceLost: options.replaceLost === undefined ? [] : [options.replaceLost],
      });
      await writeAdministrator(store, options.trustDomain, options);
    },
  );
  addExample(command, 'sls admin init --namespace licensing --name ada --out ~/.config/sls/admin');
}

/** `sls admin certificate`: one more administrator, or the next certificate of one. */
export function addCertificate(admin: Command): void {
  const command = admin
    .command('certificate')
    .description("create an administrator's key, and a certificate issued by the key store's admin CA");
  addCertificateOptions(addPlaceOptions(addOutputOptions(command))).action(async (options: Options) => {
    const store = await openKeyStore(options);
    await requireWritable(options.out);
    await writeAdministrator(store, await trustDomainOf(store), options);
  });
  addExample(command, 'sls admin certificate --name grace --days 30 --out ./grace');
}

/** Before anything is made that would stand nowhere. */
async function requireWritable(folder: string): Promise<void> {
  await proveWritable(folder).catch((cause: NodeJS.ErrnoException) => {
    throw new CliError(EXIT.usage, `can't write to ${folder}: ${cause.code ?? cause.message}`, {}, { cause });
  });
}

async function writeAdministrator(
  store: KeyStore,
  trustDomain: string,
  options: OutputOptions & CertificateOptions,
): Promise<void> {
  if (!/^[1-9]\d{0,2}$/.test(options.days))
    throw new CliError(EXIT.usage, `expected --days from 1 to 999, got ${JSON.stringify(options.days)}`);
  const administrator = await createAdministrator(store, {
    name: options.name,
    trustDomain,
    days: Number(options.days),
  });
  const files = { certificate: join(options.out, 'certificate.pem'), key: join(options.out, 'key.pem') };
  await writeWhole(files.key, administrator.privateKey);
  await writeWhole(files.certificate, administrator.certificate);
  const out = new Output(options);
  out.done(`administrator ${options.name}, for ${options.days} days: ${files.certificate}, ${files.key}`);
  out.result({ name: options.name, trustDomain, ...files }, []);
}
