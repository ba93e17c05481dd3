import ts from 'typescript';

const SHORTER = { '<': '<=', '<=': '<', '>': '>=', '>=': '>' };
/** Rules of zod that can be left off a schema. */
const RULES = new Set(['min', 'max', 'length', 'regex', 'refine', 'int', 'positive']);

/**
 * The mutants of a source file: each takes one check away, or moves its bound by one.
 * @returns where the text between start and end becomes another; `what` names it without its line, so that it keeps its name
 */
export function mutantsOf(file, source) {
  const tree = ts.createSourceFile(file, source, ts.ScriptTarget.Latest, true);
  const mutants = [];
  const short = (text) => text.replace(/\s+/g, ' ').slice(0, 120);
  const add = (node, text, what) => {
    const start = node.getStart(tree);
    const { line } = tree.getLineAndCharacterOfPosition(start);
    mutants.push({ start, end: node.getEnd(), text, line: line + 1, what: short(what) });
  };
  const visit = (node) => {
    if (ts.isIfStatement(node)) add(node.expression, 'false', `if (${node.expression.getText(tree)}) never`);
    if (ts.isBinaryExpression(node)) {
      const operator = node.operatorToken.getText(tree);
      const text = node.getText(tree);
      if (operator === '&&' || operator === '||') {
        add(node, node.left.getText(tree), `${text} without its right side`);
        add(node, node.right.getText(tree), `${text} without its left side`);
      } else if (operator in SHORTER) {
        add(node.operatorToken, SHORTER[operator], `${text} with ${SHORTER[operator]}`);
      }
    }
    if (ts.isRegularExpressionLiteral(node)) {
      const text = node.getText(tree);
      if (text.startsWith('/^')) add(node, `/${text.slice(2)}`, `${text} without ^`);
      if (/\$\/[a-z]*$/.test(text)) add(node, text.replace(/\$(\/[a-z]*)$/, '$1'), `${text} without $`);
    }
    if (ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression)) {
      const { name, expression } = node.expression;
      const isSchema = /^z\b|Schema\b/.test(expression.getText(tree));
      if (isSchema && RULES.has(name.text) && expression.getText(tree) !== 'z') {
        const rule = source.slice(expression.getEnd(), node.getEnd());
        add(node, expression.getText(tree), `${lastLine(expression.getText(tree))} without ${rule}`);
      }
      if (expression.getText(tree) === 'z' && name.text === 'strictObject')
        add(name, 'object', `strictObject ${node.parent.getText(tree).slice(0, 40)} with more fields`);
      if (expression.getText(tree) === 'z' && name.text === 'literal')
        add(node, 'z.any()', `${node.getText(tree)} as anything`);
    }
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return mutants;
}

function lastLine(text) {
  return text.split('\n').at(-1).trim();
}
