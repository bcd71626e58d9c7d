# bash completion for hull and hull-img: the program itself knows its words, so that this file never lags behind.
_hull() {
  local words=("${COMP_WORDS[@]:1:COMP_CWORD}") candidates
  [[ ${COMP_WORDS[0]##*/} != hull-img ]] || words=(img "${words[@]}")
  mapfile -t candidates < <(hull complete -- "${words[@]}" 2>/dev/null)
  COMPREPLY=("${candidates[@]}")
  # Where the program has nothing to say the word is a file.
  [[ ${#COMPREPLY[@]} -gt 0 ]] || compopt -o default
}
complete -F _hull hull hull-img
