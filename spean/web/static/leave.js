// Quick exit: the page is blank at once, and Back does not bring it again. Without this script the link does the same,
// but for the blank.
document.getElementById("leave")?.addEventListener("click", (event) => {
  const address = event.currentTarget.href;
  event.preventDefault();
  document.documentElement.replaceChildren();
  document.title = "";
  location.replace(address);
});
// An error summary is read out first.
document.getElementById("summary")?.focus();
