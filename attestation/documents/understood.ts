import { z } from 'zod';

/*
 * Documents outlive releases: a newer one may have written what an older one reads. Readers pass over members that they don't know. Where that would be
 * wrong, because the reader would believe or permit more than the writer meant, the writer names the member in `critical`, and readers who don't know it
 * refuse the document. As `crit` of a JWS (RFC 7515, 4.1.11), but for what is signed; it is signed with the rest.
 */

const MAX_NAMES = 32;

/** Member `critical` of a signed document: paths of members that a reader has to understand, names with dots between. */
export const criticalMember = {
  critical: z
    .array(z.string().min(1).max(256))
    .min(1)
    .max(MAX_NAMES)
    .refine((names) => new Set(names).size === names.length, 'expected every name once')
    .optional(),
};

/** Why a document isn't taken. `newer`: a newer release understands it; otherwise it is malformed. */
interface CriticalProblem {
  newer: boolean;
  /** To stand behind the name of the document. */
  message: string;
}

/**
 * Whether everything that the document calls critical was understood.
 * @param document as it came, with a `critical` that its schema has looked at
 * @param read what the schema made of it: without what it doesn't know
 */
export function criticalProblem(
  document: unknown,
  read: { critical?: string[] | undefined },
): CriticalProblem | undefined {
  const names = read.critical ?? [];
  const absent = names.filter((name) => !has(document, name.split('.')));
  if (absent.length > 0) return { newer: false, message: `calls critical what it doesn't have: ${absent.join(', ')}` };
  const unknown = unknownMembers(document, read);
  const beyond = names.filter((name) => unknown.some((path) => name === path || name.startsWith(`${path}.`)));
  if (beyond.length === 0) return undefined;
  return { newer: true, message: `needs a newer release, which knows ${beyond.join(', ')}` };
}

/** Paths of the members that a schema passed over; those of a list's elements without their places. */
export function unknownMembers(document: unknown, read: unknown): string[] {
  return [...new Set(membersBeyond(document, read))];
}

function membersBeyond(document: unknown, read: unknown): string[] {
  if (Array.isArray(document) && Array.isArray(read))
    return document.flatMap((one, at) => membersBeyond(one, read[at]));
  if (!isObject(document) || !isObject(read)) return [];
  return Object.keys(document).flatMap((name) => {
    if (!Object.hasOwn(read, name)) return [name];
    return membersBeyond(document[name], read[name]).map((path) => `${name}.${path}`);
  });
}

/**
 * Adds to a document's successor what this release doesn't know of the document: who writes it anew loses nothing of a newer release's. Members
 * alone, not elements of lists.
 */
export function withUnknown<T>(next: T, document: unknown, read: unknown): T {
  if (!isObject(next) || !isObject(document) || !isObject(read)) return next;
  const kept = { ...next } as Record<string, unknown>;
  for (const [name, value] of Object.entries(document)) {
    if (!Object.hasOwn(read, name)) kept[name] = value;
    else if (Object.hasOwn(kept, name)) kept[name] = withUnknown(kept[name], value, read[name]);
  }
  return kept as T;
}

function has(document: unknown, [name, ...rest]: readonly string[]): boolean {
  if (name === undefined) return true;
  if (Array.isArray(document)) return document.some((one) => has(one, [name, ...rest]));
  return isObject(document) && Object.hasOwn(document, name) && has(document[name], rest);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
