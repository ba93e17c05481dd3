import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Code } from '../../errors/codes';

/** What a vector is expected to give: accepted, or refused with this code. */
export interface Expect {
  ok: boolean;
  code?: Code;
}

/** A committed file of vectors. Bytes are base64 or, where they are short, hex; times are Unix seconds. */
export function readVectors<T>(name: string): T {
  return JSON.parse(readFileSync(join(__dirname, `${name}.json`), 'utf8')) as T;
}

/** Runs the check of a vector, and compares its refusal. @returns what the check gave where it is accepted */
export async function judge<T>({ ok, code }: Expect, check: () => T | Promise<T>): Promise<T | undefined> {
  const run = async (): Promise<T> => check();
  if (ok) return run();
  await expect(run()).toRejectWithCode(code!);
  return undefined;
}

export const at = (seconds: number): Date => new Date(seconds * 1000);
