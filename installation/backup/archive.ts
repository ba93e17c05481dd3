import { z } from 'zod';
import { BackupError } from '../../licensing/backup/errors';

/**
 * What a backup is inside of its encryption: text in lines, in sections. A section is a head, one JSON object, then its lines, then an empty line. The first
 * one is the header, the last one `{"end":true}`; between them stand files, whose lines are base64, and tables, whose lines are rows as JSON.
 */
export interface Section {
  head: SectionHead;
  lines: AsyncIterable<string> | Iterable<string>;
}

const headerSchema = z.object({
  backup: z.literal(1),
  createdAt: z.iso.datetime(),
  trustDomain: z.string(),
  /** Null: its database is elsewhere, and not in the backup. */
  database: z
    .object({
      installation: z.uuid(),
      migrations: z.array(z.string()),
      accounts: z.number().int(),
      records: z.number().int(),
    })
    .nullable(),
});

/** What a backup says of itself. */
export type BackupHeader = z.infer<typeof headerSchema>;

const fileSchema = z.object({ file: z.string(), mode: z.number().int().min(0).max(0o777) });
const tableSchema = z.object({ table: z.string() });
const endSchema = z.object({ end: z.literal(true) });

type SectionHead = z.infer<typeof fileSchema> | z.infer<typeof tableSchema>;

/** Writes sections one after the other. */
export async function* writeArchive(header: BackupHeader, sections: AsyncIterable<Section>): AsyncGenerator<string> {
  yield `${JSON.stringify(header)}\n\n`;
  for await (const { head, lines } of sections) {
    yield `${JSON.stringify(head)}\n`;
    for await (const line of lines) yield `${line}\n`;
    yield '\n';
  }
  yield '{"end":true}\n\n';
}

/**
 * Reads what `writeArchive` wrote. Each section's lines are to be read before the next section is asked for.
 * @throws BackupError backup.malformed, backup.newer; what is not whole ends in the first
 */
export async function readArchive(
  text: AsyncIterable<string>,
): Promise<{ header: BackupHeader; sections: AsyncGenerator<Section> }> {
  const lines = linesOf(text);
  const first = await lines.next();
  const header = readHeader(first.done === true ? '' : first.value);
  const blank = await lines.next();
  if (blank.done === true || blank.value !== '') throw malformed('the header is not the whole of its section');
  return { header, sections: readSections(lines) };
}

function readHeader(line: string): BackupHeader {
  const json = parseJson(line);
  const version = (json as { backup?: unknown } | undefined)?.backup;
  if (typeof version === 'number' && version > 1)
    throw new BackupError(
      'backup.newer',
      `expected a backup of format 1, got format ${version}`,
      'restore it with the sls of the release that made it',
    );
  const header = headerSchema.safeParse(json);
  if (!header.success) throw malformed('it has no header');
  return header.data;
}

async function* readSections(lines: AsyncGenerator<string>): AsyncGenerator<Section> {
  for (;;) {
    const next = await lines.next();
    if (next.done === true) throw malformed('it ends before its end');
    const json = parseJson(next.value);
    if (endSchema.safeParse(json).success) return;
    const head = fileSchema.safeParse(json).data ?? tableSchema.safeParse(json).data;
    if (head === undefined)
      throw malformed(`expected a file or a table, got ${JSON.stringify(next.value.slice(0, 80))}`);
    const body = bodyOf(lines);
    yield { head, lines: body };
    // What was left unread is not the next section.
    for await (const line of body) void line;
  }
}

async function* bodyOf(lines: AsyncGenerator<string>): AsyncGenerator<string> {
  for (;;) {
    const next = await lines.next();
    if (next.done === true) throw malformed('it ends inside of a section');
    if (next.value === '') return;
    yield next.value;
  }
}

/** Longer than any row, or line of a file. */
const MAX_LINE = 64 * 1024 * 1024;

async function* linesOf(text: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of text) {
    rest += chunk;
    let from = 0;
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n', from)) {
      yield rest.slice(from, end);
      from = end + 1;
    }
    rest = rest.slice(from);
    if (rest.length > MAX_LINE) throw malformed('a line is too long');
  }
  if (rest !== '') throw malformed('it ends inside of a line');
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function malformed(what: string): BackupError {
  return new BackupError('backup.malformed', `this is no backup that can be restored: ${what}`);
}
