// Verifies real endorsement key certificates, which public test suites hold, against the makers' roots in trust/.
//   node scripts/verify-maker-certificates.mjs [--clones FOLDER]
// trust/real-certificates.json says where each one is and what has to come of it; their bytes are not kept here. They come from
// raw.githubusercontent.com, or with --clones from git clones FOLDER/OWNER/NAME.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const MAX_BYTES = 1024 * 1024;
const clones = process.argv[2] === '--clones' ? process.argv[3] : undefined;
if (process.argv.length > 2 && clones === undefined) {
  process.stderr.write('verify-maker-certificates: expected nothing, or --clones FOLDER\n');
  process.exit(2);
}

const folder = mkdtempSync(join(resolve('node_modules'), '.maker-certificates-'));
try {
  const { verify } = await loadVerifier();
  const { certificates } = JSON.parse(readFileSync('trust/real-certificates.json', 'utf8'));
  let wrong = 0;
  for (const { maker, what, sha256, source, outcome } of certificates) {
    const got = await check(verify, sha256, source);
    if (got !== outcome) wrong += 1;
    process.stdout.write(`${got === outcome ? 'ok   ' : 'WRONG'} ${maker}, ${what}: ${got}\n`);
    if (got !== outcome) process.stdout.write(`      expected ${outcome}\n`);
  }
  process.stdout.write(`${certificates.length - wrong} of ${certificates.length} as expected\n`);
  process.exitCode = wrong === 0 ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** The verifier that functions/enrol uses, with the roots that ship. */
async function loadVerifier() {
  const outfile = join(folder, 'verify.mjs');
  const contents = `
    import { verifyChain } from './attestation/certificates/chain';
    import { completeChain, makePool } from './attestation/certificates/complete-chain';
    import { readPemFolder } from './functions/enrol/maker-certificates';
    const roots = readPemFolder('trust/ek-roots');
    const pool = makePool(readPemFolder('trust/ek-intermediates'));
    export function verify(der) {
      try {
        verifyChain({ certificates: completeChain([der], pool), roots, now: new Date(), form: 'maker' });
        return 'verified';
      } catch (error) {
        return error.code ?? String(error);
      }
    }`;
  const banner = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";
  await build({
    stdin: { contents, resolveDir: '.', loader: 'ts' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    banner: { js: banner },
    outfile,
    logLevel: 'error',
  });
  return import(pathToFileURL(outfile).href);
}

async function check(verify, sha256, source) {
  let text;
  try {
    text = await read(source);
  } catch (error) {
    return `not fetched: ${error.message.split('\n')[0]}`;
  }
  const der = candidates(text).find((each) => createHash('sha256').update(each).digest('hex') === sha256);
  return der === undefined ? `no certificate with SHA-256 ${sha256} there` : verify(der);
}

async function read({ repository, commit, path }) {
  if (clones !== undefined) {
    const args = ['--git-dir', join(clones, repository), 'show', `${commit}:${path}`];
    return execFileSync('git', args, { maxBuffer: MAX_BYTES, stdio: ['ignore', 'pipe', 'pipe'] });
  }
  const url = `https://raw.githubusercontent.com/${repository}/${commit}/${path}`;
  const answer = await fetch(url, { signal: AbortSignal.timeout(30_000) });
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  const bytes = Buffer.from(await answer.arrayBuffer());
  if (bytes.length > MAX_BYTES) throw new Error(`${url} holds more than ${MAX_BYTES} bytes`);
  return bytes;
}

/** Every certificate in a file, DER: the file itself, or base64 in PEM or in the strings of a program. */
function candidates(file) {
  const text = file
    .toString('latin1')
    .replace(/\\n/g, '')
    .replace(/["'\s\\]+/g, '');
  const decoded = [...text.matchAll(/MII[A-Za-z0-9+/]+/g)].map(([base64]) => Buffer.from(base64, 'base64'));
  return [file, ...decoded]
    .filter((bytes) => bytes.length > 4 && bytes[0] === 0x30 && bytes[1] === 0x82)
    .map((bytes) => bytes.subarray(0, 4 + bytes.readUInt16BE(2)));
}
