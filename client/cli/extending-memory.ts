import { largestOf } from '../../attestation/transparency/growth';
import { LogError } from '../index';
import type { LogHead } from '../index';
import { CliError, EXIT } from './exit';
import type { LogMemory, RememberedHead } from './log-memory';
import type { Output } from './output';
import type { Code } from '../../errors/codes';
import { readInput } from './input';

const CONTRADICTIONS = new Set<Code>(['log.rolled_back', 'log.forked']);

/**
 * Checks the audit log against the heads that this machine remembers, and remembers the one that it was shown. Where another command was shown one at the
 * same time, against that, too: two answers that contradict each other are found whichever came first.
 * @param check tells the log's head once its signature is known
 */
export async function extendingMemory<T extends { head: LogHead }>(
  memory: LogMemory,
  out: Output,
  check: (known: readonly RememberedHead[], onHead: (head: LogHead) => void) => Promise<T>,
): Promise<T & { before: RememberedHead | undefined }> {
  const remembered = await memory.heads();
  let shown: LogHead | undefined;
  let known: readonly RememberedHead[] = remembered;
  try {
    for (;;) {
      const checked = await check(known, (head) => (shown = head));
      const others = await memory.remember(checked.head, known);
      if (others.length === 0) return { ...checked, before: largestOf(remembered) };
      known = [...others, checked.head];
    }
  } catch (error) {
    if (error instanceof LogError && CONTRADICTIONS.has(error.code) && shown)
      out.warning(`both signed heads are kept: ${await memory.keepContradiction(known, shown.signed)}`);
    throw error;
  }
}

/** A head for programs. */
export function describeHead({ size, root, at, signed }: LogHead): {
  size: number;
  root: string;
  at: string;
  signed: string;
} {
  return { size, root: root.toString('hex'), at: at.toISOString(), signed };
}

/** A signed head as --json printed it, alone or as part of all that. */
export async function readHeadFile(file: string): Promise<string> {
  const text = await readInput(file, 'the head');
  if (!text.trimStart().startsWith('{')) return text.trim();
  try {
    const { head, signed } = JSON.parse(text) as { head?: { signed?: unknown }; signed?: unknown };
    const found = head?.signed ?? signed;
    if (typeof found === 'string') return found;
  } catch {
    // Said below.
  }
  throw new CliError(EXIT.usage, `expected ${file} to hold a signed head, got something else`, {
    hint: 'sls audit check --json prints it',
  });
}
