// Draws docs/session.svg, the picture in the README, from docs/demo-transcript.txt: what is shown was printed by the demo.
//   node scripts/session-svg.mjs            writes the picture
//   node scripts/session-svg.mjs --check    ends with 1 if the committed picture is not that of the transcript
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const docs = join(dirname(dirname(fileURLToPath(import.meta.url))), 'docs');
const transcriptFile = join(docs, 'demo-transcript.txt');
const pictureFile = join(docs, 'session.svg');

/**
 * The excerpt: which commands of which section are shown, and which lines of their output. Lines left out in a row
 * become one "…". A pattern that matches nothing is an error, so that the picture can't go stale unnoticed.
 */
const EXCERPT = [
  {
    section: '3.',
    command: 'sls login',
    keep: [
      /starting the enclave/,
      /quoting/,
      /ok ak_certificate/,
      /ok ak_attributes/,
      /ok signature/,
      /ok certificate_hash/,
      /ok identity/,
      /ok policy/,
      /ok revocation/,
      /ok connection/,
      /ok session/,
      /ok logged in/,
    ],
  },
  { section: '4.', command: 'sls exec -- sha256sum', keep: [/^[0-9a-f]{64} /] },
  {
    section: '7.',
    comment: '# the same command, while someone redirects the connection to a server of theirs',
    command: 'sls exec -- sha256sum',
    keep: [/attestation refused/, /^hint: nothing of yours was sent/, /exit code 5/],
  },
];

const COLUMNS = 94;
const CHARACTER = 8.43;
const LINE = 20;
const MARGIN = 20;
const BAR = 36;

/** Sections of the transcript: title → commands, each with its output. */
function readTranscript(text) {
  const sections = [];
  for (const line of text.split('\n')) {
    if (line.startsWith('== ')) sections.push({ title: line.slice(3), commands: [] });
    else if (line.startsWith('$ ')) sections.at(-1)?.commands.push({ line, output: [] });
    else if (line !== '') sections.at(-1)?.commands.at(-1)?.output.push(line);
  }
  return sections;
}

function excerpt(sections) {
  return EXCERPT.flatMap(({ section, comment, command, keep }, index) => {
    const found = sections
      .find(({ title }) => title.startsWith(section))
      ?.commands.find(({ line }) => line.startsWith(`$ ${command}`));
    if (!found) throw new Error(`expected "$ ${command}" in section ${section} of the transcript, got none`);
    for (const pattern of keep) {
      if (!found.output.some((line) => pattern.test(line))) {
        throw new Error(`expected a line like ${pattern} below "${found.line}", got none`);
      }
    }
    const shown = [];
    for (const line of found.output) {
      if (keep.some((pattern) => pattern.test(line))) shown.push(line);
      else if (shown.at(-1) !== '…') shown.push('…');
    }
    // What precedes and follows says nothing that the reader would miss.
    while (shown[0] === '…') shown.shift();
    while (shown.at(-1) === '…') shown.pop();
    return [...(index > 0 ? [''] : []), ...(comment ? [comment] : []), found.line, ...shown];
  });
}

/** As a terminal breaks lines, but between words. */
function wrap(line) {
  const rows = [];
  let rest = line;
  while (rest.length > COLUMNS) {
    const at = rest.lastIndexOf(' ', COLUMNS);
    const end = at > 0 ? at : COLUMNS;
    rows.push(rest.slice(0, end));
    rest = rest.slice(end).trimStart();
  }
  return [...rows, rest];
}

const escape = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const span = (style, text) => (text === '' ? '' : `<tspan class="${style}">${escape(text)}</tspan>`);

/** The rows of one line, coloured by what kind of line it is. */
function coloured(line) {
  if (line.startsWith('$ '))
    return wrap(line).map((row, index) =>
      index === 0 ? span('dim', '$ ') + span('strong', row.slice(2)) : span('strong', row),
    );
  if (line.startsWith('# ') || line === '…' || line.startsWith('(exit'))
    return wrap(line).map((row) => span('dim', row));
  if (line.startsWith('hint:')) return wrap(line).map((row) => span('hint', row));
  if (/ refused /.test(line)) return wrap(line).map((row) => span('bad', row));
  const passed = /^(sls: )(ok)( .*)$/.exec(line);
  if (passed) {
    const [, name, ok] = passed;
    const [first, ...more] = wrap(line);
    const head = span('dim', name) + span('good', ok) + span('plain', first.slice(name.length + ok.length));
    return [head, ...more.map((row) => span('plain', row))];
  }
  const told = /^(sls: )(.*)$/.exec(line);
  if (told)
    return wrap(line).map((row, index) =>
      index === 0 ? span('dim', told[1]) + span('plain', row.slice(told[1].length)) : span('plain', row),
    );
  return wrap(line).map((row) => span('plain', row));
}

function draw(lines) {
  const rows = lines.flatMap(coloured);
  const width = Math.ceil(COLUMNS * CHARACTER + 2 * MARGIN);
  const height = BAR + rows.length * LINE + MARGIN;
  const text = rows
    .map((row, index) => `<text x="${MARGIN}" y="${BAR + (index + 1) * LINE - 5}">${row}</text>`)
    .filter((row) => !row.endsWith('"></text>'));
  // A background of its own makes it legible on a light page and on a dark one.
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="title">
<title id="title">A terminal: a login with each verified step, a command in the enclave, and a refused connection</title>
<style>
text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace; font-size: 14px; white-space: pre; }
.plain { fill: #c9d1d9; } .strong { fill: #ffffff; font-weight: 600; } .dim { fill: #8b949e; }
.good { fill: #56d364; } .bad { fill: #ff7b72; } .hint { fill: #e3b341; }
</style>
<rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8" fill="#0d1117" stroke="#484f58"/>
<circle cx="22" cy="18" r="5.5" fill="#ff5f57"/><circle cx="41" cy="18" r="5.5" fill="#febc2e"/><circle cx="60" cy="18" r="5.5" fill="#28c840"/>
${text.join('\n')}
</svg>
`;
}

const picture = draw(excerpt(readTranscript(readFileSync(transcriptFile, 'utf8'))));
if (!process.argv.includes('--check')) {
  writeFileSync(pictureFile, picture);
} else if (readFileSync(pictureFile, 'utf8') !== picture) {
  process.stderr.write(
    'docs/session.svg is not drawn from docs/demo-transcript.txt as it is now\nhint: node scripts/session-svg.mjs\n',
  );
  process.exitCode = 1;
}
