import { countRefusals } from '../../licensing/audit/count-refusals';
import { Refusals } from '../../licensing/audit/refusals';
import { makePool } from '../../attestation/certificates/complete-chain';
import { readEnvironment, settingFileError } from '../../runtime/config/environment';
import { readSettingFile, readSettingText, openTls } from '../../runtime/config/listen';
import { writeReadyFile } from '../../runtime/config/ready-file';
import { reloadingSetting } from '../../runtime/config/reloading-setting';
import { openMetrics } from '../../runtime/metrics/open';
import { runProgram } from '../../runtime/rpc/program';
import { FEW_PEERS } from '../../runtime/rpc/limits';
import { startServer } from '../../runtime/rpc/server';
import { watchDatabase } from '../../licensing/store/metrics';
import { openFunctionDatabase, readDatabaseUrl } from '../../licensing/store/open';
import { EnrolServiceService } from '../../proto/gen/licensing/v1/enrol';
import type { EndorsementTrust } from './endorsement-certificate';
import { readPemFolder, shippedMakerCertificates } from './maker-certificates';
import { enrolService } from './service';
import { enrolSettings } from './settings';
import type { EnrolSettings } from './settings';
import { readAuthorities, signingAuthority } from '../../licensing/authority/rotating';
import type { Program } from '../../runtime/rpc/program';

const SEAL_KEY_BYTES = 32;
const LISTED_KEY = /^([0-9a-f]{64})( software)?$/;

/** @throws ConfigError */
async function readSealKey({ SEAL_KEY_FILE }: EnrolSettings): Promise<Buffer> {
  const key = await readSettingFile('SEAL_KEY_FILE', SEAL_KEY_FILE);
  if (key.length !== SEAL_KEY_BYTES)
    throw settingFileError({ SEAL_KEY_FILE }, `expected ${SEAL_KEY_BYTES} bytes, got ${key.length}`);
  return key;
}

/** @throws ConfigError */
async function readTrust(settings: EnrolSettings): Promise<EndorsementTrust> {
  const shipped = settings.EK_ROOTS_SHIPPED === 'on' ? shippedMakerCertificates() : { roots: [], intermediates: [] };
  const { EK_ROOTS_DIR = '', EK_HASHES_FILE = '' } = settings;
  let added: string[];
  try {
    added = settings.EK_ROOTS_DIR === undefined ? [] : readPemFolder(EK_ROOTS_DIR);
  } catch (cause) {
    const got = (cause as NodeJS.ErrnoException).code ?? 'something else';
    throw settingFileError({ EK_ROOTS_DIR }, `expected a folder of certificates, got ${got}`, cause);
  }
  const hashes = new Map<string, { software: boolean }>();
  const list =
    settings.EK_HASHES_FILE === undefined ? '' : await readSettingText('EK_HASHES_FILE', settings.EK_HASHES_FILE);
  for (const line of list
    .split('\n')
    .map((text) => text.replace(/#.*/, '').trim())
    .filter(Boolean)) {
    const [, hash, software] = LISTED_KEY.exec(line) ?? [];
    if (hash === undefined)
      throw settingFileError({ EK_HASHES_FILE }, `expected 64 hex digits, got ${JSON.stringify(line.slice(0, 80))}`);
    hashes.set(hash, { software: software !== undefined });
  }
  return { roots: [...shipped.roots, ...added], intermediates: makePool(shipped.intermediates), hashes };
}

/** The authority that signs now; the files are read again when they change. @throws ConfigError */
async function openAuthority(
  settings: EnrolSettings,
  program: Program,
): Promise<() => Promise<{ certificate: string; privateKey: string }>> {
  const { ATTESTATION_CA_CERTIFICATE_FILE, ATTESTATION_CA_KEY_FILE } = settings;
  const read = await reloadingSetting(
    { ATTESTATION_CA_CERTIFICATE_FILE, ATTESTATION_CA_KEY_FILE },
    ([certificates, keys]) => readAuthorities(String(certificates), String(keys)),
    program,
  );
  // Which of them signs is asked each time: the time of a new one comes without a change of the files.
  const current = async (): Promise<{ certificate: string; privateKey: string }> => signingAuthority(await read());
  await current().catch((cause: Error) => {
    throw settingFileError({ ATTESTATION_CA_CERTIFICATE_FILE, ATTESTATION_CA_KEY_FILE }, cause.message, cause);
  });
  return current;
}

async function load(program: Program) {
  const settings = readEnvironment(enrolSettings);
  return {
    settings,
    tls: await openTls(settings, program),
    sealKey: await readSealKey(settings),
    trust: await readTrust(settings),
    authority: await openAuthority(settings, program),
    databaseUrl: await readDatabaseUrl(settings),
  };
}

async function run(
  { settings, tls, sealKey, trust, authority, databaseUrl }: Awaited<ReturnType<typeof load>>,
  program: Program,
): Promise<() => Promise<void>> {
  const { log, tracer, clock } = program;
  const metrics = await openMetrics(settings);
  const poolSize = settings.DATABASE_POOL;
  const database = await openFunctionDatabase(databaseUrl, { program: 'enrol', poolSize, log, clock });
  if (metrics) watchDatabase(metrics, database);
  const refusals = new Refusals(database, program);
  const server = await startServer({
    address: settings.LISTEN,
    tls,
    observer: metrics,
    log,
    tracer,
    proxies: settings.TRUSTED_PROXIES,
    interceptors: [countRefusals(refusals)],
    limits: FEW_PEERS,
    services: [
      {
        definition: EnrolServiceService,
        implementation: enrolService({
          database,
          authority,
          trust,
          sealKey,
          trustDomain: settings.TRUST_DOMAIN,
          certificateDays: settings.CERTIFICATE_DAYS,
          clock,
        }),
      },
    ],
  });
  await writeReadyFile(settings.READY_FILE, { listen: server.port });
  return async () => {
    await server.stop();
    metrics?.close();
    await refusals.close();
    await database.close();
  };
}

runProgram({ load, run });
