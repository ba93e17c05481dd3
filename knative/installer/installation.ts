import { dump, load, YAMLException } from 'js-yaml';
import { z } from 'zod';
import { CodedError } from '../../errors/coded-error';
import { checkIssuer } from '../../runtime/oidc/issuer';
import { networkSchema } from './network-settings';
import { CONFIGURABLE, SETTINGS } from './settings';
import type { Configurable } from './settings';

/** What is to be installed can't be read, or isn't complete. */
export class InstallationError extends CodedError<'installation.invalid'> {
  override readonly name = 'InstallationError';

  constructor(message: string, options?: ErrorOptions) {
    super('installation.invalid', message, options);
  }
}

/** Programs that have an image. The reaper runs from login's. */
export const PROGRAMS = ['signup', 'login', 'enrol', 'admin', 'attestor-daemon', 'enclave'] as const;
export type Program = (typeof PROGRAMS)[number];

const image = z.string().regex(/^[^@\s]+@sha256:[0-9a-f]{64}$/, 'expected REPOSITORY@sha256:HEX');
const issuer = z.string().transform((text, context) => {
  try {
    return checkIssuer(text);
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message });
    return z.NEVER;
  }
});

const settingsOf = (program: Configurable) =>
  z.strictObject(
    Object.fromEntries(
      Object.entries(SETTINGS[program]).map(([name, { schema, about }]) => [name, schema.optional().describe(about)]),
    ),
  );

/** `sha256:HEX` of an image that is named by it. */
export const digestOf = (reference: string): string => reference.replace(/^.*@/, '');

/** Everything that an installation in a cluster decides, but its secrets. `about` of each is a comment in the file. */
const installationSchema = z.strictObject({
  apiVersion: z.literal('licensing/v1').default('licensing/v1').describe('of this file'),
  overlay: z
    .string()
    .regex(/^[a-z0-9-]+$/, 'expected the name of a folder in knative/overlays')
    .describe('folder in knative/overlays: which TPM, and PostgreSQL in the cluster or outside'),
  trustDomain: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9.-]{0,253}[a-z0-9])?$/, 'expected a DNS-like name')
    .default('sls.local')
    .describe('name of this installation in all evidence; another one is another installation'),
  images: z
    .strictObject(Object.fromEntries(PROGRAMS.map((name) => [name, image])) as Record<Program, typeof image>)
    .describe('image of each program, by digest'),
  softwareTpm: z.enum(['allow', 'refuse']).default('refuse').describe('how clients treat software TPMs'),
  nodeSelector: z
    .string()
    .regex(/^[^=\s]+=[^=\s]*$/, 'expected KEY=VALUE')
    .default('licensing/tpm=2.0')
    .describe('label of the nodes that have a TPM'),
  tpmFolder: z.string().startsWith('/').optional().describe('folder of the swtpm sockets on the nodes (software-tpm)'),
  ekRoots: z
    .record(z.string().regex(/^[\w.-]+$/), z.string())
    .default({})
    .describe('CA certificates of TPM makers, PEM by file name, beside those that the project has'),
  metrics: z.boolean().default(false).describe('Prometheus metrics, and PodMonitors for the Prometheus operator'),
  oidc: z
    .strictObject({
      issuer,
      clientId: z.string().min(1),
      scopes: z.string().default('openid'),
      signup: z.boolean().default(true),
      publicClientSecret: z.string().default(''),
    })
    .optional()
    .describe('OpenID provider by which users may log in'),
  network: networkSchema
    .default({})
    .describe('what the network has elsewhere than knative/base/network.yaml says: each list takes the place of its'),
  enclaveTemplate: z
    .string()
    .optional()
    .describe("template of the enclaves' Knative Service, its text (knative/base/enclave.yaml)"),
  settings: z
    .strictObject(
      Object.fromEntries(CONFIGURABLE.map((name) => [name, settingsOf(name).optional()])) as Record<
        Configurable,
        z.ZodOptional<z.ZodObject<Record<string, z.ZodOptional<z.ZodType<string>>>>>
      >,
    )
    .default({})
    .describe('settings of the programs where they differ from the manifests'),
});

export type Installation = z.infer<typeof installationSchema>;

/** Overlays of the project's that have no folder of swtpm's sockets. */
const HARDWARE_OVERLAYS = ['hardware-tpm', 'external-postgres'];

function requireFitting(installation: Installation): Installation {
  const { overlay, tpmFolder } = installation;
  if (tpmFolder === undefined || !HARDWARE_OVERLAYS.includes(overlay)) return installation;
  throw new InstallationError(
    `tpmFolder: expected none, because ${overlay} has no software TPM, got ${tpmFolder}; --no-tpm-folder takes it away`,
  );
}

/** JSON Schema of the file, for editors. Bounds that a pattern can't say are missing. */
export function installationJsonSchema(): object {
  return z.toJSONSchema(installationSchema, { io: 'input', unrepresentable: 'any' });
}

/** Parts of an installation, as a file or the flags give them; not yet checked. */
export type Draft = Record<string, unknown>;

/** @param name of the file, for the error @throws InstallationError */
export function readDraft(text: string, name: string): Draft {
  let value: unknown;
  try {
    value = load(text);
  } catch (cause) {
    if (!(cause instanceof YAMLException)) throw cause;
    throw new InstallationError(`${name}: expected YAML: ${cause.reason} (line ${cause.mark.line + 1})`, { cause });
  }
  if (value === null || value === undefined) return {};
  if (isMapping(value)) {
    const [, version] = /^licensing\/v(\d+)$/.exec(String(value['apiVersion'])) ?? [];
    if (Number(version) > 1)
      throw new InstallationError(`${name}: apiVersion licensing/v${version} needs a newer release of the installer`);
    return merge({}, value);
  }
  throw new InstallationError(`${name}: expected a mapping, got ${Array.isArray(value) ? 'a list' : typeof value}`);
}

const isMapping = (value: unknown): value is Draft =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Mappings are merged, other values replaced, and null takes a value away: a key that stands alone in YAML is none. */
export function merge(draft: Draft, change: Draft): Draft {
  const merged = { ...draft };
  for (const [key, value] of Object.entries(change)) {
    if (value === null || value === undefined) delete merged[key];
    else if (isMapping(value)) merged[key] = merge(isMapping(merged[key]) ? merged[key] : {}, value);
    else merged[key] = value;
  }
  return merged;
}

/** What is missing is the commonest of all mistakes: it is said with what should be there, and the flag that gives it. */
function describeIssue(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'invalid_type') return issue.message;
  const { input } = issue;
  if (input !== undefined) return `expected ${issue.expected}, got ${Array.isArray(input) ? 'a list' : typeof input}`;
  const [name, part] = issue.path.map(String);
  if (name === 'overlay') return 'expected the name of a folder in knative/overlays, got none: --overlay software-tpm';
  if (name === 'images') return `expected REPOSITORY@sha256:HEX, got none: --image ${part ?? 'PROGRAM'}=REFERENCE`;
  return `expected ${issue.expected}, got none`;
}

/** @throws InstallationError that lists everything that is wrong or missing */
export function checkInstallation(draft: Draft): Installation {
  const result = installationSchema.safeParse(draft, { reportInput: true });
  if (result.success) return requireFitting(result.data);
  const lines = result.error.issues.map((issue) => `${issue.path.join('.') || 'the file'}: ${describeIssue(issue)}`);
  throw new InstallationError(`this can't be installed: ${lines.join('; ')}`);
}

/**
 * What the cluster keeps may be of a newer release. This one goes by what it knows of it.
 * @returns the draft without the rest, and the paths of that
 */
export function withoutUnknown(draft: Draft): { draft: Draft; unknown: string[] } {
  const known = structuredClone(draft);
  const unknown: string[] = [];
  for (const issue of installationSchema.safeParse(draft).error?.issues ?? []) {
    if (issue.code !== 'unrecognized_keys') continue;
    const holder = issue.path.reduce<unknown>((value, name) => (value as Draft)[String(name)], known) as Draft;
    for (const name of issue.keys) {
      delete holder[name];
      unknown.push([...issue.path, name].join('.'));
    }
  }
  return { draft: known, unknown };
}

/** The file with every setting: what is decided, and as comments what could be. Long texts go last. */
export function renderInstallation(installation: Installation): string {
  const shape = installationSchema.shape;
  const parts = (Object.keys(shape) as Array<keyof Installation>).map((key) => {
    const about = `# ${shape[key].description ?? ''}\n`;
    if (key === 'settings')
      return `${about}settings:\n${CONFIGURABLE.map((name) => renderSettings(name, installation)).join('')}`;
    if (key === 'network') return about + renderNetwork(installation.network);
    const value = installation[key];
    return about + (value === undefined ? `# ${key}:\n` : dump({ [key]: value }, { lineWidth: -1 }));
  });
  return `# An installation of the licensing service in a cluster: install:cluster -- --file THIS\n${parts.join('\n')}`;
}

function renderNetwork(network: Installation['network']): string {
  const names = Object.keys(networkSchema.shape) as Array<keyof typeof network>;
  const lines = names.map((name) => {
    const value = network[name];
    const line =
      value === undefined ? `  # ${name}:` : `  ${name}: ${dump(value, { flowLevel: 0, lineWidth: -1 }).trim()}`;
    return `${line} # ${networkSchema.shape[name].description ?? ''}\n`;
  });
  return `${Object.keys(network).length > 0 ? 'network:' : '# network:'}\n${lines.join('')}`;
}

function renderSettings(program: Configurable, { settings }: Installation): string {
  const given = settings[program] ?? {};
  const lines = Object.entries(SETTINGS[program]).map(([name, { about }]) => {
    const value = given[name];
    return value === undefined ? `    # ${name}:  # ${about}\n` : `    ${name}: ${dump(value).trim()} # ${about}\n`;
  });
  return Object.keys(given).length > 0 ? `  ${program}:\n${lines.join('')}` : `  # ${program}:\n${lines.join('')}`;
}
