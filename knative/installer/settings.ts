import { z } from 'zod';
import { proxiesSetting } from '../../runtime/config/listen';
import { LOG_LEVELS } from '../../runtime/log/json';
import { tracesSettings } from '../../runtime/traces/settings';

/** How a setting is told and checked before anything is applied; the program's own schema has the last word. */
interface Setting {
  schema: z.ZodType<string>;
  /** One line: a comment of `installation.yaml`. */
  about: string;
}

const text = z.coerce.string().check(z.minLength(1));
const takenBy = (schema: z.ZodType, expected: string): z.ZodType<string> =>
  text.refine((value) => schema.safeParse(value).success, `expected ${expected}`);
const whole = (least: number, most: number): z.ZodType<string> =>
  z.coerce
    .string()
    .regex(/^\d{1,9}$/, 'expected a whole number')
    .refine((digits) => Number(digits) >= least && Number(digits) <= most, `expected ${least} to ${most}`);
const number = (most: number): z.ZodType<string> =>
  z.coerce
    .string()
    .regex(/^\d{1,9}(\.\d{1,9})?$/, 'expected a number')
    .refine((digits) => Number(digits) <= most, `expected ${most} at most`);
const oneOf = (...words: readonly string[]): z.ZodType<string> =>
  z.coerce.string().refine((word) => words.includes(word), `expected ${words.join(' or ')}`);
const count = (most: number): z.ZodType<string> => whole(0, most);

const PROGRAM: Record<string, Setting> = {
  LOG_LEVEL: {
    schema: oneOf(...LOG_LEVELS),
    about: 'least severity of what is logged (info)',
  },
  OTEL_EXPORTER_OTLP_ENDPOINT: {
    schema: takenBy(tracesSettings.shape.OTEL_EXPORTER_OTLP_ENDPOINT, 'a URL such as http://otel-collector:4318'),
    about: 'OTLP/HTTP of an OpenTelemetry collector; none: no traces',
  },
  TRACES_PER_SECOND: { schema: number(10_000), about: 'traces that begin in a second at most (20)' },
};
const PROXIES: Record<string, Setting> = {
  TRUSTED_PROXIES: {
    schema: takenBy(proxiesSetting, 'addresses and networks, divided by spaces'),
    about: 'networks of the proxies before it, divided by spaces',
  },
};
const pool = (usual: number): Record<string, Setting> => ({
  DATABASE_POOL: { schema: whole(1, 100), about: `connections to PostgreSQL at most, for each replica (${usual})` },
});
const ACCOUNTS: Record<string, Setting> = {
  ...PROGRAM,
  ...PROXIES,
  ...pool(4),
  BCRYPT_COST: { schema: whole(4, 16), about: 'cost of new password hashes (12)' },
  HASH_WORKERS: { schema: whole(1, 256), about: 'threads that hash passwords (one for each core)' },
  HASH_QUEUE: { schema: count(10_000), about: 'passwords that wait for such a thread at most (32)' },
  LOGIN_FAILURES_PER_ACCOUNT: { schema: count(1_000_000), about: 'wrong passwords for an account; 0: no limit (10)' },
  LOGIN_FAILURES_PER_ADDRESS: { schema: count(1_000_000), about: 'wrong passwords from an address; 0: no limit (300)' },
  SIGNUPS_PER_ADDRESS: { schema: count(1_000_000), about: 'new accounts from an address; 0: no limit (200)' },
};

/** What may be set for each program. Whatever names a file, an address or an identity is the manifests' own. */
export const SETTINGS = {
  signup: ACCOUNTS,
  login: {
    ...ACCOUNTS,
    LICENCE_REQUIRED: { schema: oneOf('true', 'false'), about: 'whether only users with a licence may log in (false)' },
    DEFAULT_ENCLAVES: { schema: whole(1, 1000), about: 'enclaves of one user, where no licence says so (4)' },
    MAX_ENCLAVES: { schema: count(1_000_000), about: 'enclaves of all users together; 0: no limit (1000)' },
    LOGINS_PER_ACCOUNT: { schema: count(1_000_000), about: 'logins of one account in an hour; 0: no limit (600)' },
    DEFAULT_SEATS: { schema: whole(1, 1_000_000), about: 'sessions of one account at once, without a licence (16)' },
    SEAT_SECONDS: { schema: whole(3, 3600), about: 'after so long without a heartbeat a seat is free (180)' },
    SEAT_GRACE_SECONDS: {
      schema: whole(0, 604_800),
      about: "what a lapsed seat began runs so long, as the enclaves' template has it (900)",
    },
    SEAT_OUTAGE_SECONDS: {
      schema: count(86_400),
      about: 'seats stay for so long at most while the database is away; 0: they lapse (14400)',
    },
    ENCLAVE_RUNTIME_CLASS: { schema: text, about: "RuntimeClass of the enclaves, such as gVisor's" },
    ENCLAVE_VOLUME_SIZE: {
      schema: z.coerce
        .string()
        .regex(/^[1-9]\d*(\.\d+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$/, 'expected a quantity such as 10Gi'),
      about: "size of a volume for each enclave's files; none: they end with its pod",
    },
    ENCLAVE_STORAGE_CLASS: { schema: text, about: "StorageClass of those volumes (the cluster's default)" },
    ENCLAVE_START_SECONDS: { schema: whole(1, 86_400), about: 'until an enclave serves, its image pulled (90)' },
    ENCLAVE_SCHEDULE_SECONDS: { schema: whole(1, 86_400), about: 'until a node has room for it (15)' },
  },
  enrol: {
    ...PROGRAM,
    ...PROXIES,
    ...pool(2),
    EK_ROOTS_SHIPPED: { schema: oneOf('on', 'off'), about: "whether the project's roots of TPM makers count (on)" },
    CERTIFICATE_DAYS: { schema: whole(1, 90), about: "life of an attestation key's certificate (7)" },
  },
  admin: { ...PROGRAM, ...PROXIES, ...pool(4) },
  attestor: {
    ...PROGRAM,
    AK_HANDLE: {
      schema: z.coerce.string().regex(/^0x810[0-9a-f]{5}$/i, 'expected a persistent handle such as 0x81010010'),
      about: 'persistent handle of the attestation key (0x81010010)',
    },
    TPM_TRANSPORT: {
      schema: oneOf('native', 'tools'),
      about: "who makes quotes: the TPM's own commands, or tpm2-tools (native, where the address allows it)",
    },
  },
  reaper: {
    ...PROGRAM,
    UNUSED_DAYS: {
      schema: number(100_000).refine((days) => Number(days) > 0, 'expected more than 0'),
      about: 'an enclave that nobody used for so long is deleted (30)',
    },
    ORPHAN_DAYS: { schema: number(100_000), about: 'so long after it was found, what has no owner is deleted (7)' },
    ORPHAN_PERCENT: { schema: number(100), about: 'a larger share needs sls admin orphans permit (5)' },
  },
} satisfies Record<string, Record<string, Setting>>;

export type Configurable = keyof typeof SETTINGS;
export const CONFIGURABLE = Object.keys(SETTINGS) as Configurable[];
