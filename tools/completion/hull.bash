# bash completion for hull and hull-img: the program itself knows its words, so that this file never lags behind.
_hull() {
  # Readline takes words apart at '=' and ':'; the program wants them whole.
  local words=() rest=$COMP_LINE behind i
  for ((i = 0; i <= COMP_CWORD; i++)); do
    behind=${rest#"${rest%%[![:space:]]*}"}
    if [[ $i -gt 0 && $behind == "$rest" ]]; then words[-1]+=${COMP_WORDS[i]}; else words+=("${COMP_WORDS[i]}"); fi
    rest=${behind#"${COMP_WORDS[i]}"}
  done
  local typed=${words[-1]} kept='' line file
  for i in = :; do
    # Of the word only what is behind the last such character is replaced.
    [[ $COMP_WORDBREAKS != *$i* || $typed != *$i* ]] || { line=${typed%"$i"*}$i; [[ ${#line} -le ${#kept} ]] || kept=$line; }
  done
  words=("${words[@]:1}")
  [[ ${COMP_WORDS[0]##*/} != hull-img ]] || words=(img "${words[@]}")
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
      '@files '* | '@directories '*)
        i=${line#* }
        line=${line%% *}
        while IFS= read -r file; do
          file=${typed:0:i}$file
          COMPREPLY+=("${file#"$kept"}")
          compopt -o filenames
        done < <(if [[ $line == @files ]]; then compgen -f -- "${typed:i}"; else compgen -d -- "${typed:i}"; fi)
        ;;
      *)
        COMPREPLY+=("${line#"$kept"}")
        [[ $line != *[=:,] ]] || compopt -o nospace
        ;;
    esac
  done < <(hull complete -- "${words[@]}" 2>/dev/null)
}
complete -F _hull hull hull-img
