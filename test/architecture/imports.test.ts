import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const root = resolve(__dirname, '../..');

/** Lower layers first. A file may import its own folder and what stands below it. */
const LAYERS = [
  ['attestation/bytes', 'runtime'],
  ['attestation/tpm'],
  ['attestation/certificates', 'attestation/boot', 'licensing/authority', 'licensing/store'],
  ['attestation/transparency', 'attestation/tokens', 'licensing/tokens'],
  ['attestation/evidence', 'attestation/licences', 'attestation/seats', 'licensing/passwords', 'licensing/audit', 'licensing/limits'],
  ['attestation/trust', 'licensing/sessions', 'licensing/licences', 'licensing/second-factor', 'licensing/oidc'],
  ['licensing/seats', 'licensing/enclaves'],
  ['licensing/accounts', 'licensing/revocation'],
  ['installation'],
];
/** Files that still hold a verifier's and an issuer's half: the next commits split them. */
const TO_SPLIT = ['certificates/admin', 'certificates/client', 'certificates/pem', 'certificates/seat-signer', 'licences/messages', 'tokens/workload'];
const SERVICES = ['functions/signup', 'functions/login', 'functions/enrol', 'functions/admin', 'attestor-daemon', 'enclave', 'client', 'launcher'];

/** The command line brings the one-machine installation with it: `sls up`. */
const ALLOWED_ACROSS = [['client/cli', 'launcher']];

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)));
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8');
  return [...text.matchAll(/(?:from|import|require\()\s*['"](\.[^'"]+)['"]/g)].map((match) =>
    relative(root, resolve(root, dirname(file), match[1] ?? '')),
  );
}

function inside(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

const layerOf = (path: string): number => LAYERS.findIndex((layer) => layer.some((folder) => inside(path, folder)));

test('nothing imports upward, in the order of trust', () => {
  const wrong: string[] = [];
  for (const file of ['attestation', 'licensing', 'runtime', 'installation'].flatMap(sources)) {
    expect({ file, layer: layerOf(file) }).not.toEqual({ file, layer: -1 });
    if (TO_SPLIT.some((name) => file === `attestation/${name}.ts`)) continue;
    for (const target of importsOf(file)) {
      if (inside(target, 'proto/gen')) continue;
      const layer = layerOf(target);
      const same = LAYERS.flat().some((folder) => inside(file, folder) && inside(target, folder));
      if (layer === -1 || layer > layerOf(file) || (layer === layerOf(file) && layer > 1 && !same)) wrong.push(`${file} -> ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});

test('no service imports another one: they know each other by the contracts alone', () => {
  const wrong: string[] = [];
  for (const service of SERVICES) {
    for (const file of sources(service)) {
      for (const target of importsOf(file)) {
        const other = SERVICES.find((name) => inside(target, name));
        if (other === undefined || other === service) continue;
        if (ALLOWED_ACROSS.some(([from, to]) => inside(file, from ?? '') && inside(target, to ?? ''))) continue;
        wrong.push(`${file} -> ${target}`);
      }
    }
  }
  expect(wrong).toEqual([]);
});

test('no folder or file hides its subject behind utils, helpers or common', () => {
  const names = [...SERVICES, 'attestation', 'licensing', 'runtime', 'installation', 'test', 'bench'].flatMap(sources).filter((file) => /(^|\/)(utils?|helpers?|common)(\/|\.)/.test(file));
  expect(names).toEqual([]);
});
