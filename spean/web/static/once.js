// A form that only passes on a permission sends itself, once; without this script it takes one more click. It runs before
// the page is complete, so Back leads to the page before it.
document.getElementById("once")?.requestSubmit();
