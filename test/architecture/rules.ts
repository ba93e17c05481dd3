/** What makes an installation's keys needs of licensing. */
const KEY_MAKING = ['licensing/authority', 'licensing/tokens', 'licensing/second-factor'];

/** The storeys and the programs on top of them: what each may import. A folder may always import itself, `proto/gen` and `errors`. */
export const MAY_IMPORT: Record<string, readonly string[]> = {
  errors: [],
  attestation: [],
  runtime: [],
  licensing: ['attestation', 'runtime'],
  installation: [...KEY_MAKING, 'licensing/backup', 'attestation', 'runtime'],
  'functions/signup': ['licensing', 'attestation', 'runtime'],
  'functions/login': ['licensing', 'attestation', 'runtime'],
  'functions/enrol': ['licensing', 'attestation', 'runtime'],
  'functions/admin': ['licensing', 'attestation', 'runtime'],
  'attestor-daemon': ['attestation', 'runtime'],
  enclave: ['attestation', 'runtime'],
  // The command line brings the one-machine installation with it: `sls up`, and `sls admin` on an installation's keys.
  'client/cli': ['client', 'launcher', 'installation', 'attestation', 'runtime'],
  client: ['attestation', 'runtime'],
  launcher: ['installation', ...KEY_MAKING, 'licensing/backup', 'attestation', 'runtime'],
  knative: ['installation', ...KEY_MAKING, 'attestation', 'runtime'],
};

/** Inside a storey, lower layers first. A folder may import what stands below it in its storey. */
export const LAYERS: Record<string, ReadonlyArray<readonly string[]>> = {
  attestation: [
    ['bytes', 'crypto', 'documents'],
    ['tpm'],
    ['certificates', 'boot'],
    ['tokens', 'transparency'],
    ['evidence', 'licences', 'seats'],
    ['trust'],
  ],
  runtime: [
    ['text', 'name-path'],
    ['clock', 'backoff', 'files', 'log', 'metrics', 'traces', 'keys', 'turns'],
    ['config', 'rpc', 'kubernetes'],
    ['oidc'],
  ],
  licensing: [
    ['store', 'tokens', 'authority'],
    ['passwords', 'limits'],
    ['audit'],
    ['sessions', 'licences', 'second-factor', 'oidc'],
    ['seats', 'enclaves'],
    ['accounts', 'revocation'],
    ['backup'],
  ],
};

/** What `attestation/` may import that isn't its own: nothing that reaches a network, a file or a clock. */
export const PURE = ['jose', 'zod'];

/** The one file of `attestation/` that may import Node, and what: where it runs elsewhere, that file is replaced. */
export const CRYPTOGRAPHY = { file: 'attestation/crypto.ts', target: 'node:crypto' };
