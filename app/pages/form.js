// Sends the page's form as JSON, with the secret of the address's fragment, and shows what came of it.
const form = document.querySelector("form");
const said = document.querySelector("output");

function fields() {
  const given = { [form.dataset.secret ?? "token"]: location.hash.slice(1) };
  for (const input of form.querySelectorAll("input")) {
    given[input.name] = input.type === "checkbox" ? input.checked : input.value;
  }
  return given;
}

async function answered() {
  const answer = await fetch(form.dataset.to, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(fields()),
  });
  if (answer.ok) return null;
  const problem = await answer.json();
  return [problem.detail, problem.hint].filter(Boolean).join(" ");
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  const trouble = await answered().catch(() => "The service cannot be reached. Try again in a moment.");
  button.disabled = false;
  said.textContent = trouble ?? form.dataset.done;
  said.className = trouble === null ? "done" : "trouble";
  form.hidden = trouble === null;
});
