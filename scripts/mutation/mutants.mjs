import ts from 'typescript';

const SHORTER = { '<': '<=', '<=': '<', '>': '>=', '>=': '>' };
const COMPARISONS = new Set(['===', '!==', '<', '<=', '>', '>=', '&&', '||', 'instanceof', 'in']);
/** Rules of zod that can be left off a schema. */
const RULES = new Set(['min', 'max', 'length', 'regex', 'refine', 'int', 'positive']);
/** Functions that are called for the error that they throw. */
const CHECK = /^(check|verify|require|expect|refuse|compare|end|reject|demand|assert)/;
/** Functions whose answer is yes or no. */
const PREDICATE = /^(is|has|can|equals|test|every|some|includes|startsWith|endsWith|verify|does|matches)/;

/**
 * The mutants of a source file: each takes one check away, or moves its bound by one.
 * Texts of messages are left out: no check is in them.
 * @returns where the expression between start and end becomes another; `what` names it without its line, so that it keeps its name
 */
export function mutantsOf(file, source) {
  const tree = ts.createSourceFile(file, source, ts.ScriptTarget.Latest, true);
  const mutants = [];
  const names = new Map();
  const add = (node, text, what) => {
    const short = what.replace(/\s+/g, ' ').slice(0, 120);
    const times = (names.get(short) ?? 0) + 1;
    names.set(short, times);
    const start = node.getStart(tree);
    const line = tree.getLineAndCharacterOfPosition(start).line + 1;
    mutants.push({ start, end: node.getEnd(), text, line, what: times > 1 ? `${short} (${times})` : short });
  };
  const visit = (node) => {
    if (ts.isThrowStatement(node) || ts.isTemplateExpression(node)) return;
    if (ts.isIfStatement(node)) add(node.expression, 'false', `if (${node.expression.getText(tree)}) never`);
    if (ts.isBinaryExpression(node)) binary(node, tree, add);
    if (
      ts.isExpressionStatement(node) &&
      ts.isCallExpression(node.expression) &&
      CHECK.test(calledName(node.expression))
    )
      add(node.expression, 'undefined', `${node.expression.getText(tree)} not called`);
    const answer = ts.isReturnStatement(node) ? node.expression : ts.isArrowFunction(node) ? node.body : undefined;
    if (answer && isYesOrNo(answer, tree)) add(answer, 'true', `${answer.getText(tree)} always true`);
    if (ts.isRegularExpressionLiteral(node)) {
      const text = node.getText(tree);
      if (text.startsWith('/^')) add(node, `/${text.slice(2)}`, `${text} without ^`);
      if (/\$\/[a-z]*$/.test(text)) add(node, text.replace(/\$(\/[a-z]*)$/, '$1'), `${text} without $`);
    }
    if (ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression)) schema(node, tree, add);
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return mutants;
}

/**
 * The source with all of its mutants in it: `globalThis.mutation(NUMBER)` says which one is at work.
 * @param numbers of the mutants, in their order
 */
export function withMutants(source, mutants, numbers) {
  const sites = new Map();
  mutants.forEach(({ start, end, text }, i) => {
    const key = `${start}-${end}`;
    if (!sites.has(key)) sites.set(key, { start, end, choices: [] });
    sites.get(key).choices.push({ number: numbers[i], text });
  });
  const outerFirst = [...sites.values()].sort((a, b) => a.start - b.start || b.end - a.end);
  let next = 0;
  const between = (start, end) => {
    let text = '';
    let at = start;
    while (next < outerFirst.length && outerFirst[next].start < end) {
      const site = outerFirst[next++];
      const original = between(site.start, site.end);
      const choices = site.choices.map(({ number, text }) => `globalThis.mutation?.(${number}) ? (${text}) : `);
      text += `${source.slice(at, site.start)}(${choices.join('')}(${original}))`;
      at = site.end;
    }
    return text + source.slice(at, end);
  };
  return between(0, source.length);
}

function binary(node, tree, add) {
  const operator = node.operatorToken.getText(tree);
  const [left, right, text] = [node.left, node.right, node].map((part) => part.getText(tree));
  if (operator === '&&' || operator === '||') {
    add(node, left, `${text} without its right side`);
    add(node, right, `${text} without its left side`);
  } else if (operator in SHORTER) {
    add(node, `${left} ${SHORTER[operator]} ${right}`, `${text} with ${SHORTER[operator]}`);
  }
}

function schema(node, tree, add) {
  const { name, expression } = node.expression;
  const text = expression.getText(tree);
  if (/^z\b|Schema\b/.test(text) && RULES.has(name.text) && text !== 'z') {
    const rule = tree.text.slice(expression.getEnd(), node.getEnd());
    add(node, text, `${text.split('\n').at(-1).trim()} without ${rule}`);
  }
  if (text !== 'z') return;
  if (name.text === 'strictObject')
    add(node.expression, 'z.object', `${node.getText(tree).slice(0, 50)} with more fields`);
  if (name.text === 'literal') add(node, 'z.any()', `${node.getText(tree)} as anything`);
}

function isYesOrNo(node, tree) {
  if (ts.isParenthesizedExpression(node)) return isYesOrNo(node.expression, tree);
  if (ts.isPrefixUnaryExpression(node)) return node.operator === ts.SyntaxKind.ExclamationToken;
  if (ts.isBinaryExpression(node)) {
    const operator = node.operatorToken.getText(tree);
    // `a && b` may be a value that is there or not.
    if (operator === '&&' || operator === '||') return isYesOrNo(node.left, tree) && isYesOrNo(node.right, tree);
    return COMPARISONS.has(operator);
  }
  return ts.isCallExpression(node) && PREDICATE.test(calledName(node));
}

function calledName({ expression }) {
  if (ts.isIdentifier(expression)) return expression.text;
  return ts.isPropertyAccessExpression(expression) ? expression.name.text : '';
}
