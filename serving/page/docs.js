const element = (tag, text = "", className = "") => Object.assign(document.createElement(tag), { textContent: text, className });
const api = await (await fetch("/openapi.json")).json();
const resolve = (schema) => (schema?.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema);

function type(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(type).join(" or ");
  if (schema.enum) return schema.enum.join(", ");
  if (schema.type === "array") return `list of ${type(schema.items)}`;
  return schema.type ?? "any";
}

function limits(schema) {
  const parts = (schema.anyOf ?? []).map(limits).filter(Boolean);
  const names = { minimum: "≥", maximum: "≤", minLength: "characters ≥", maxLength: "characters ≤", minItems: "entries ≥", maxItems: "entries ≤" };
  for (const [name, words] of Object.entries(names)) if (name in schema) parts.push(`${words} ${schema[name]}`);
  if (schema.default != null) parts.push(`default ${JSON.stringify(schema.default)}`);
  return parts.join("; ");
}

function table(fields) {
  const made = element("table");
  const head = element("tr");
  head.append(...["field", "type", "limits", "meaning"].map((name) => element("th", name)));
  made.append(head);
  for (const { name, schema, required } of fields) {
    const row = element("tr");
    const cell = element("td");
    cell.append(element("code", name), required ? " *" : "");
    row.append(cell, element("td", type(schema)), element("td", limits(schema)), element("td", schema.description ?? ""));
    made.append(row);
  }
  const scroll = element("div", "", "scroll");
  scroll.append(made);
  return scroll;
}

const fieldsOf = (model) => Object.entries(model.properties ?? {}).map(([name, schema]) => ({ name, schema, required: (model.required ?? []).includes(name) }));

/** The table of a model, then those of the models that it references. */
function describe(schema, seen = new Set()) {
  const model = resolve(schema);
  if (!model?.properties) return [];
  const inner = [...JSON.stringify(model).matchAll(/#\/components\/schemas\/(\w+)/g)].map(([reference]) => reference);
  const nested = inner.filter((reference) => !seen.has(reference) && seen.add(reference));
  return [table(fieldsOf(model)), ...nested.flatMap((reference) => [element("h3", reference.split("/").pop()), ...describe({ $ref: reference }, seen)])];
}

const json = (holder) => holder?.content?.["application/json"]?.schema;

for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    const section = element("section", "", "operation");
    const title = element("h2");
    title.append(element("span", method.toUpperCase(), `method ${method}`), element("span", path));
    section.append(title, element("p", operation.summary));
    if (operation.parameters) section.append(element("h3", "Query"), table(operation.parameters));
    if (operation.requestBody) section.append(element("h3", "Body"), ...describe(json(operation.requestBody)));
    const answer = json(operation.responses[200]);
    if (answer) section.append(element("h3", "Response"), ...describe(answer));
    const errors = Object.entries(operation.responses).filter(([status]) => status !== "200");
    if (errors.length) section.append(element("h3", "Errors"), ...errors.map(([status, { description }]) => element("p", `${status}: ${description}`)));
    document.getElementById("operations").append(section);
  }
}
